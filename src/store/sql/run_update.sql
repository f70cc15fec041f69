UPDATE runs
SET name = coalesce($2, name),
    notes = CASE WHEN $3 IS NULL THEN notes ELSE nullif($3, '') END,
    tags = coalesce($4, tags),
    updated_at = $5
WHERE id = $1
