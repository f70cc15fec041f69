-- What needs model $1: unfinished jobs and checkpoints whose runs grew from it.
SELECT jobs.id AS id
FROM jobs
JOIN runs ON runs.job_id = jobs.id
WHERE
    jobs.state NOT IN ('succeeded', 'failed', 'cancelled')
    AND (jobs.spec ->> 'model' = $1 OR runs.model = $1 OR runs.base_model = $1)
UNION
SELECT checkpoints.id AS id
FROM checkpoints
JOIN runs ON runs.id = checkpoints.run_id
WHERE runs.model = $1 OR runs.base_model = $1
ORDER BY id
