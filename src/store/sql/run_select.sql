SELECT
    runs.*,
    jobs.state,
    jobs.started_at,
    jobs.finished_at,
    jobs.sweep_id,
    jobs.sweep_point,
    CASE WHEN runs.updated_at > jobs.updated_at THEN runs.updated_at ELSE jobs.updated_at END AS changed_at
FROM runs
JOIN jobs ON jobs.id = runs.job_id
