-- Servers that hold models in memory for servers that do not. A row goes when its engine leaves; one whose heartbeat is old is
-- that of an engine that died.
CREATE TABLE engines (
    id TEXT COLLATE "C" PRIMARY KEY,
    address TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    device TEXT COLLATE "C" NOT NULL,
    -- List of ids.
    models JSON NOT NULL DEFAULT '[]',
    load BIGINT NOT NULL DEFAULT 0,
    started_at BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);
