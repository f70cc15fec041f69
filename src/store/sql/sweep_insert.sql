INSERT INTO sweeps (id, name, project, created_by, base, grid, points, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING *
