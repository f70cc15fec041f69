INSERT INTO samples (id, run_id, step, data, created_at)
