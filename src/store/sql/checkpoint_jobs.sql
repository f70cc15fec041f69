-- Unfinished jobs that start from checkpoint $1.
SELECT id
FROM jobs
WHERE model = $1 AND state NOT IN ('succeeded', 'failed', 'cancelled')
ORDER BY id
