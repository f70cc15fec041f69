-- The leases that ran out and were seen a third of their time ago as they are: $1 the time.
SELECT *
FROM jobs
WHERE lease_expires_at <= $1
    AND lease_seen = lease_expires_at
    AND lease_seen_at <= $1 - coalesce(lease_ttl, 30000) / 3
ORDER BY id
