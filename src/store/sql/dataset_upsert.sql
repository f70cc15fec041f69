INSERT INTO datasets (
    id, name, state, source, train_rows, eval_rows, fingerprint, card, recommended, project, created_by, created_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (name) DO UPDATE SET
    state = excluded.state,
    source = excluded.source,
    train_rows = excluded.train_rows,
    eval_rows = excluded.eval_rows,
    fingerprint = excluded.fingerprint,
    card = excluded.card,
    recommended = excluded.recommended,
    project = excluded.project
RETURNING *
