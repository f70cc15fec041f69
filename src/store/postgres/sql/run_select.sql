SELECT
    runs.*,
    jobs.state,
    jobs.started_at,
    jobs.finished_at,
    jobs.sweep_id,
    jobs.sweep_point,
    greatest(runs.updated_at, jobs.updated_at) AS changed_at
FROM runs
JOIN jobs ON jobs.id = runs.job_id
