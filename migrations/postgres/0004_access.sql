-- Keys that open the API, what they are exchanged for, and who did what.

CREATE TABLE api_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'user', 'admin')),
    project TEXT COLLATE "C" NOT NULL,
    -- The public part of the secret, by which the key is found.
    prefix TEXT COLLATE "C" NOT NULL UNIQUE,
    -- SHA-256 of the whole secret, which holds 256 random bits: nothing to guess, so nothing to slow down.
    hash TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at BIGINT
);

-- Short-lived stand-ins of a key: sessions of browsers, and live streams that are opened once.
CREATE TABLE tickets (
    hash TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('session', 'stream')),
    key_id TEXT COLLATE "C" NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX tickets_expiry ON tickets (expires_at);

CREATE TABLE audit (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time BIGINT NOT NULL,
    key_id TEXT COLLATE "C",
    project TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    detail TEXT COLLATE "C"
);

-- Whose event it is where no job tells: data sets, models, and runs that are gone.
ALTER TABLE events ADD COLUMN project TEXT COLLATE "C";
