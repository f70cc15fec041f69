INSERT INTO engines (id, address, version, host, device, started_at, heartbeat_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (id) DO UPDATE SET
    address = excluded.address,
    version = excluded.version,
    host = excluded.host,
    device = excluded.device,
    heartbeat_at = excluded.heartbeat_at
RETURNING *
