INSERT INTO metric_steps (run_id, step, time, samples, tokens)
SELECT $1, batch.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS batch
ON CONFLICT (run_id, step) DO UPDATE SET
    time = excluded.time,
    samples = excluded.samples,
    tokens = excluded.tokens
