-- When the jobs that run last reported something, or were taken by their worker.
SELECT
    jobs.id AS job_id,
    (
        SELECT events.time
        FROM events
        WHERE events.job_id = jobs.id
            AND events.kind IN ('job', 'metrics', 'samples', 'checkpoint', 'rewind')
        ORDER BY events.seq DESC
        LIMIT 1
    ) AS heard_at
FROM jobs
WHERE jobs.state = 'running'
