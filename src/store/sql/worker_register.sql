INSERT INTO workers (
    id, role, version, host, pid, device_class, device, memory_bytes, ranks, state, started_at, heartbeat_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'idle', $10, $10)
ON CONFLICT (id) DO UPDATE SET
    role = excluded.role,
    version = excluded.version,
    host = excluded.host,
    pid = excluded.pid,
    device_class = excluded.device_class,
    device = excluded.device,
    memory_bytes = excluded.memory_bytes,
    ranks = excluded.ranks,
    state = 'idle',
    job_id = NULL,
    started_at = excluded.started_at,
    heartbeat_at = excluded.heartbeat_at
RETURNING *
