-- A transition of job $1 with its event ($12 to $16), and whether other jobs wait for it: one way to the server and back.
WITH changed AS (
    UPDATE jobs
    SET state = $2,
        reason = $3,
        attempt = $4,
        attempts_used = $5,
        lease_worker = $6,
        lease_expires_at = $7,
        not_before = $8,
        updated_at = $9,
        asked = coalesce($11, asked),
        started_at = CASE WHEN $2 = 'running' THEN coalesce(started_at, $9) ELSE started_at END,
        finished_at = CASE WHEN $10 THEN $9 END
    WHERE id = $1
    RETURNING
        state,
        reason,
        attempt,
        attempts_used,
        lease_worker,
        lease_expires_at,
        not_before,
        asked,
        updated_at,
        started_at,
        finished_at
), told AS (
    INSERT INTO events (time, kind, job_id, run_id, project, data)
    SELECT $9, $12, $13, $14, $15, $16::json FROM changed
)
SELECT
    changed.*,
    EXISTS (SELECT 1 FROM jobs AS later WHERE later.after_job = $1 AND later.state = 'queued') AS awaited
FROM changed
