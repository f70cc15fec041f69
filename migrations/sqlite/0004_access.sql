-- Keys that open the API, what they are exchanged for, and who did what.

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'user', 'admin')),
    project TEXT NOT NULL,
    -- The public part of the secret, by which the key is found.
    prefix TEXT NOT NULL UNIQUE,
    -- SHA-256 of the whole secret, which holds 256 random bits: nothing to guess, so nothing to slow down.
    hash TEXT NOT NULL,
    created_by TEXT,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;

-- Short-lived stand-ins of a key: sessions of browsers, and live streams that are opened once.
CREATE TABLE tickets (
    hash TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('session', 'stream')),
    key_id TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tickets_expiry ON tickets (expires_at);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    key_id TEXT,
    project TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT
) STRICT;

-- Whose event it is where no job tells: data sets, models, and runs that are gone.
ALTER TABLE events ADD COLUMN project TEXT;
