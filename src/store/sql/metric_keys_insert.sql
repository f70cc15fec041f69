INSERT INTO metric_keys (run_id, key, last_step, last_value, min_value, max_value)
