INSERT INTO jobs (
    id, run_id, name, project, created_by, tags, state, reason, priority, spec, origins, model, device, after_job,
    max_attempts, not_before, sweep_id, sweep_point, created_at, updated_at, spec_version, ranks, alert_webhook
)
VALUES ($1, $2, $3, $4, $5, $6, 'queued', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $19, $20, $21)
RETURNING *
