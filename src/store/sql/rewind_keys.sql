-- Last value and extremes of the keys whose later points (beyond step $2) were deleted.
UPDATE metric_keys
SET last_step = (SELECT max(step) FROM points WHERE key_id = metric_keys.id),
    last_value = (SELECT value FROM points WHERE key_id = metric_keys.id ORDER BY step DESC LIMIT 1),
    min_value = (SELECT min(value) FROM points WHERE key_id = metric_keys.id),
    max_value = (SELECT max(value) FROM points WHERE key_id = metric_keys.id)
WHERE run_id = $1 AND last_step > $2
