INSERT INTO models (name, family, parameters, path, card, recommended, source, project, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (name) DO UPDATE SET
    family = excluded.family,
    parameters = excluded.parameters,
    path = excluded.path,
    card = excluded.card,
    recommended = excluded.recommended,
    source = excluded.source,
    project = excluded.project
-- Where a model may be brought up to date at all; and a name never leaves the project that is given.
WHERE $12 AND ($11 IS NULL OR models.project = $11)
RETURNING *
