-- Points of runs that ended before $1 and are not labelled `keep`, at most $2 of them.
DELETE FROM points
WHERE (key_id, step) IN (
    SELECT points.key_id, points.step
    FROM jobs
    JOIN runs ON runs.job_id = jobs.id
    JOIN metric_keys ON metric_keys.run_id = runs.id
    JOIN points ON points.key_id = metric_keys.id
    WHERE jobs.state IN ('succeeded', 'failed', 'cancelled') AND jobs.finished_at < $1 AND (runs.tags ->> 'keep') IS NULL
    LIMIT $2
)
