-- The next job for a device: $1 its class, $2 the time, $3 the newest form of settings that this
-- program knows, $4 how many to pass over, $5 the time after which no attempt waits, $6 how
-- many ranks the worker can start.
SELECT *
FROM jobs AS job
WHERE state = 'queued'
    AND device IN ('any', $1)
    AND spec_version <= $3
    AND ranks <= $6
    AND coalesce(
        (SELECT count(*) FROM jobs AS held WHERE held.project = job.project AND held.lease_worker IS NOT NULL)
        < (SELECT running_jobs FROM project_quotas AS quota WHERE quota.project IN (job.project, '*') ORDER BY quota.project = '*' LIMIT 1),
        true
    )
    AND (
        $1 = 'cpu'
        OR coalesce(
            (
                SELECT count(*) FROM jobs AS held JOIN workers ON workers.id = held.lease_worker
                WHERE held.project = job.project AND workers.device_class <> 'cpu'
            )
            < (SELECT gpus FROM project_quotas AS quota WHERE quota.project IN (job.project, '*') ORDER BY quota.project = '*' LIMIT 1),
            true
        )
    )
    AND (not_before IS NULL OR not_before <= $2 OR (attempt > 0 AND not_before > $5))
    AND (
        after_job IS NULL
        OR EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.id = job.after_job AND earlier.state = 'succeeded')
    )
ORDER BY priority DESC, id
LIMIT 1 OFFSET $4
