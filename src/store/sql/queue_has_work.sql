-- May a claim find something? $1 the device's class, $2 the time, $3 the newest form of settings that this program knows,
-- $4 the time after which no attempt waits, $5 how many ranks the worker can start.
SELECT
    EXISTS (
        SELECT 1
        FROM jobs AS job
        WHERE state = 'queued'
            AND device IN ('any', $1)
            AND spec_version <= $3
            AND ranks <= $5
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
            AND (not_before IS NULL OR not_before <= $2 OR (attempt > 0 AND not_before > $4))
            AND (
                after_job IS NULL
                OR EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.id = job.after_job AND earlier.state = 'succeeded')
            )
    )
    AS has_work
