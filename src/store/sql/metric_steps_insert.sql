INSERT INTO metric_steps (run_id, step, time, samples, tokens)
