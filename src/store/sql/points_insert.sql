INSERT INTO points (key_id, step, value, nonfinite)
