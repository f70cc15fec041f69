-- Keys of run $1 with what a batch tells about them.
INSERT INTO metric_keys (run_id, key, last_step, last_value, min_value, max_value)
SELECT $1, batch.* FROM unnest($2::text[], $3::bigint[], $4::float8[], $5::float8[], $6::float8[]) AS batch
ON CONFLICT (run_id, key) DO UPDATE SET
    last_value = CASE
        WHEN excluded.last_step >= metric_keys.last_step THEN excluded.last_value
        ELSE metric_keys.last_value
    END,
    last_step = greatest(metric_keys.last_step, excluded.last_step),
    min_value = least(metric_keys.min_value, excluded.min_value),
    max_value = greatest(metric_keys.max_value, excluded.max_value)
RETURNING id, key
