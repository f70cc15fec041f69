-- Many events at time $1, numbered in their order.
INSERT INTO events (time, kind, job_id, run_id, data)
SELECT $1, kind, job_id, run_id, data::json
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS batch (kind, job_id, run_id, data, place)
ORDER BY place
