-- What a database says about itself: its id, which its artifacts carry, and when a server last tried to write.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A lease ends when it ran out and was seen twice without a heartbeat in between: a clock that jumps ends none.
-- lease_ttl is what the last heartbeat asked for, lease_seen the end of the lease at the first look.
ALTER TABLE jobs ADD COLUMN lease_ttl INTEGER;
ALTER TABLE jobs ADD COLUMN lease_seen INTEGER;
ALTER TABLE jobs ADD COLUMN lease_seen_at INTEGER;

-- API servers. A data set on its way in belongs to the one that receives and checks it.
CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE datasets ADD COLUMN server TEXT;

-- Artifacts whose records are gone, noted in the transaction that deleted the records, until their files are gone too.
CREATE TABLE removals (
    key TEXT PRIMARY KEY,
    noted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Artifacts that no record names, and when they were first and last found.
CREATE TABLE orphans (
    key TEXT PRIMARY KEY,
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a request with an idempotency key has made, noted in the transaction that made it.
ALTER TABLE idempotency ADD COLUMN target TEXT;
