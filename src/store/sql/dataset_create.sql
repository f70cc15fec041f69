INSERT INTO datasets (
    id, name, state, source, train_rows, eval_rows, fingerprint, card, recommended, project, created_by, created_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING *
