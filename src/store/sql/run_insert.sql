INSERT INTO runs (
    id, job_id, name, project, created_by, tags, model, base_model, dataset, method, steps, created_at, updated_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
