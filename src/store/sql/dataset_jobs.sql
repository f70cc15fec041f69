-- Unfinished jobs that read data set $1 (its name) or $2 (its id).
SELECT id
FROM jobs
WHERE
    state NOT IN ('succeeded', 'failed', 'cancelled')
    AND (spec ->> 'dataset' IN ($1, $2) OR spec ->> 'eval_dataset' IN ($1, $2))
ORDER BY id
