-- A transition of job $1; what it may change comes back.
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
