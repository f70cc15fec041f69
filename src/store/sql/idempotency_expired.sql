SELECT key, route FROM idempotency WHERE expires_at <= $1
