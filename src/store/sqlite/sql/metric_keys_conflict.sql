 ON CONFLICT (run_id, key) DO UPDATE SET
    last_value = CASE WHEN excluded.last_step >= last_step THEN excluded.last_value ELSE last_value END,
    last_step = max(last_step, excluded.last_step),
    min_value = coalesce(min(min_value, excluded.min_value), min_value, excluded.min_value),
    max_value = coalesce(max(max_value, excluded.max_value), max_value, excluded.max_value)
RETURNING id, key
