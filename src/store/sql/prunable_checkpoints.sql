-- Checkpoints after $2 that may be pruned: their runs ended before $1 and are not labelled `keep`, nothing serves them, and they are
-- neither best nor last of their run; at most $3 of them. Unfinished jobs are looked at when one is deleted.
SELECT checkpoints.id
FROM checkpoints
JOIN runs ON runs.id = checkpoints.run_id
JOIN jobs ON jobs.id = runs.job_id
WHERE checkpoints.id > $2
    AND jobs.state IN ('succeeded', 'failed', 'cancelled')
    AND jobs.finished_at < $1
    AND (runs.tags ->> 'keep') IS NULL
    AND checkpoints.promoted_as IS NULL
    AND (runs.best_checkpoint IS NULL OR runs.best_checkpoint <> checkpoints.id)
    AND (runs.last_checkpoint IS NULL OR runs.last_checkpoint <> checkpoints.id)
ORDER BY checkpoints.id
LIMIT $3
