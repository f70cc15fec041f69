-- Since when the job waits that has waited longest of those that could be claimed: $1 the time, $2 the time after which
-- no attempt waits.
SELECT min(max_of.since) AS since
FROM (
    SELECT CASE WHEN not_before > updated_at THEN not_before ELSE updated_at END AS since
    FROM jobs AS job
    WHERE state = 'queued'
        AND (not_before IS NULL OR not_before <= $1 OR (attempt > 0 AND not_before > $2))
        AND (
            after_job IS NULL
            OR EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.id = job.after_job AND earlier.state = 'succeeded')
        )
) AS max_of
