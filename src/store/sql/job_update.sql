UPDATE jobs
SET priority = coalesce($2, priority), tags = coalesce($3, tags), updated_at = $4
WHERE id = $1
RETURNING *
