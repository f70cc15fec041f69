SELECT
    checkpoints.*,
    runs.project,
    runs.created_by,
    coalesce(runs.best_checkpoint = checkpoints.id, FALSE) AS is_best
FROM checkpoints
JOIN runs ON runs.id = checkpoints.run_id
