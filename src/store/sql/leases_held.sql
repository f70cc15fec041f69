-- Every lease that there is.
SELECT id, attempt, lease_expires_at, lease_ttl FROM jobs WHERE lease_expires_at IS NOT NULL
