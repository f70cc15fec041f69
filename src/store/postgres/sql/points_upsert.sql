INSERT INTO points (key_id, step, value, nonfinite)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::float8[], $4::text[])
ON CONFLICT (key_id, step) DO UPDATE SET value = excluded.value, nonfinite = excluded.nonfinite
