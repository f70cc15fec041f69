-- $1 id, $2 job, $3 run, $4 rule, $5 occasion, $6 what was found, $7 delivery, $8 when it is to be sent, $9 now
INSERT INTO alerts (
    id, job_id, run_id, rule, occasion, found, delivery, next_try_at, created_at, tries
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)
ON CONFLICT (job_id, rule, occasion) DO NOTHING
RETURNING *
