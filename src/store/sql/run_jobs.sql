-- Unfinished jobs that start from a checkpoint of run $1 or wait for one of its jobs.
SELECT id
FROM jobs
WHERE
    state NOT IN ('succeeded', 'failed', 'cancelled')
    AND (
        model IN (SELECT id FROM checkpoints WHERE run_id = $1)
        OR after_job IN (SELECT id FROM jobs AS own WHERE own.run_id = $1)
    )
ORDER BY id
