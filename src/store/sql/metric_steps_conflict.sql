ON CONFLICT (run_id, step) DO UPDATE SET
    time = excluded.time,
    samples = excluded.samples,
    tokens = excluded.tokens
