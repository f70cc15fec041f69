-- Job $1 of run $2, if attempt $3 holds it.
SELECT * FROM jobs WHERE id = $1 AND run_id = $2 AND attempt = $3 AND lease_worker IS NOT NULL
