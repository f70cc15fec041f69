-- Servers that hold models in memory for servers that do not. A row goes when its engine leaves; one whose heartbeat is old is
-- that of an engine that died.
CREATE TABLE engines (
    id TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    device TEXT NOT NULL,
    -- JSON list of ids.
    models TEXT NOT NULL DEFAULT '[]',
    load INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT;
