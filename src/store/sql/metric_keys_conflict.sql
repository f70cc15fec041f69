-- Least and greatest are spelled out: databases disagree on what they make of nulls.
ON CONFLICT (run_id, key) DO UPDATE SET
    last_value = CASE
        WHEN excluded.last_step >= metric_keys.last_step THEN excluded.last_value
        ELSE metric_keys.last_value
    END,
    last_step = CASE
        WHEN excluded.last_step > metric_keys.last_step THEN excluded.last_step
        ELSE metric_keys.last_step
    END,
    min_value = CASE
        WHEN metric_keys.min_value IS NULL OR excluded.min_value < metric_keys.min_value THEN excluded.min_value
        ELSE metric_keys.min_value
    END,
    max_value = CASE
        WHEN metric_keys.max_value IS NULL OR excluded.max_value > metric_keys.max_value THEN excluded.max_value
        ELSE metric_keys.max_value
    END
RETURNING id, key
