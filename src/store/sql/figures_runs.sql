-- Runs that a worker holds, a row for each phase of their last step (or one without a phase).
SELECT
    runs.id AS run_id,
    jobs.id AS job_id,
    coalesce(runs.last_step, 0) AS step,
    coalesce(latest.samples, 0) AS samples,
    coalesce(latest.tokens, 0) AS tokens,
    phases.key AS phase,
    phases.last_value AS seconds
FROM jobs
JOIN runs ON runs.job_id = jobs.id
LEFT JOIN metric_steps AS latest ON latest.run_id = runs.id AND latest.step = runs.last_step
LEFT JOIN metric_keys AS phases ON phases.run_id = runs.id AND phases.key LIKE 'time/%'
WHERE jobs.lease_expires_at IS NOT NULL
ORDER BY runs.id, phases.key
