-- The job $1, where its lease is still that of attempt $2 and still ends at $3.
SELECT * FROM jobs WHERE id = $1 AND attempt = $2 AND lease_expires_at = $3
