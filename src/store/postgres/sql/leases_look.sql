-- Notes the leases that have not been extended for two thirds of their time, and have not been seen like that before: $1 the
-- time. A row that is locked has just been heard of.
UPDATE jobs
SET lease_seen = lease_expires_at, lease_seen_at = $1
WHERE id IN (
    SELECT id
    FROM jobs
    WHERE lease_expires_at IS NOT NULL
        AND lease_expires_at <= $1 + coalesce(lease_ttl, 30000) / 3
        AND (lease_seen IS NULL OR lease_seen <> lease_expires_at OR lease_seen_at > $1)
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
