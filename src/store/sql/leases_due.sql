-- Is there a lease to be noted or to be ended? $1 the time.
SELECT EXISTS (
    SELECT 1
    FROM jobs
    WHERE lease_expires_at IS NOT NULL
        AND lease_expires_at <= $1 + coalesce(lease_ttl, 30000) / 3
        AND (
            lease_seen IS NULL
            OR lease_seen <> lease_expires_at
            OR lease_seen_at > $1
            OR (lease_expires_at <= $1 AND lease_seen_at <= $1 - coalesce(lease_ttl, 30000) / 3)
        )
) AS due
