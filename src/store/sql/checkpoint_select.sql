SELECT checkpoints.*, runs.project, runs.created_by
FROM checkpoints
JOIN runs ON runs.id = checkpoints.run_id
