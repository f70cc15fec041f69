-- Does attempt $3 hold job $1 of run $2?
SELECT 1 FROM jobs WHERE id = $1 AND run_id = $2 AND attempt = $3 AND lease_worker IS NOT NULL
