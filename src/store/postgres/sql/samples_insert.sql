-- Groups of run $1 at step $2 and time $3.
INSERT INTO samples (id, run_id, step, data, created_at)
SELECT id, $1, $2, data::json, $3 FROM unnest($4::text[], $5::text[]) AS batch (id, data)
