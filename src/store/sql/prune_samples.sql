-- Samples of runs that ended before $1 and are not labelled `keep`, at most $2 of them.
DELETE FROM samples
WHERE id IN (
    SELECT samples.id
    FROM jobs
    JOIN runs ON runs.job_id = jobs.id
    JOIN samples ON samples.run_id = runs.id
    WHERE jobs.state IN ('succeeded', 'failed', 'cancelled') AND jobs.finished_at < $1 AND (runs.tags ->> 'keep') IS NULL
    LIMIT $2
)
