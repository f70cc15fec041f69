UPDATE datasets
SET state = $2, source = $3, train_rows = $4, eval_rows = $5, fingerprint = $6, card = $7, recommended = $8
WHERE id = $1
RETURNING *
