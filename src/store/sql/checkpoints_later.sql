-- Those of run $1 after step $2 that no name serves.
WHERE checkpoints.run_id = $1 AND checkpoints.step > $2 AND checkpoints.promoted_as IS NULL
