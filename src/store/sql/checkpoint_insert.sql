INSERT INTO checkpoints (id, run_id, step, artifact_key, accuracy, score, is_last, manifest, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO NOTHING
