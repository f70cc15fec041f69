-- Times are INTEGER milliseconds since 1970 (UTC). Structured values are JSON in TEXT.

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED,
    name TEXT NOT NULL,
    project TEXT NOT NULL,
    created_by TEXT,
    notes TEXT,
    tags TEXT NOT NULL,
    model TEXT NOT NULL,
    dataset TEXT NOT NULL,
    method TEXT NOT NULL,
    steps INTEGER NOT NULL,
    last_step INTEGER,
    last_accuracy REAL,
    best_accuracy REAL,
    best_checkpoint TEXT,
    last_checkpoint TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    name TEXT NOT NULL,
    project TEXT NOT NULL,
    created_by TEXT,
    tags TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled')
    ),
    reason TEXT,
    priority INTEGER NOT NULL,
    spec TEXT NOT NULL,
    origins TEXT NOT NULL,
    model TEXT NOT NULL,
    device TEXT NOT NULL,
    after_job TEXT REFERENCES jobs (id),
    not_before INTEGER,
    -- The fencing token: rises with every claim and never falls.
    attempt INTEGER NOT NULL DEFAULT 0,
    attempts_used INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    lease_worker TEXT,
    lease_expires_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    -- A job has a lease exactly while a worker holds it.
    CHECK ((state IN ('running', 'pausing', 'cancelling')) = (lease_worker IS NOT NULL)),
    CHECK ((lease_worker IS NULL) = (lease_expires_at IS NULL))
) STRICT;

-- The queue's order; ids sort by creation time.
CREATE INDEX jobs_queue ON jobs (priority DESC, id) WHERE state = 'queued';
CREATE INDEX jobs_leases ON jobs (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX jobs_run ON jobs (run_id);
CREATE INDEX jobs_after ON jobs (after_job) WHERE after_job IS NOT NULL;
CREATE INDEX runs_job ON runs (job_id);

-- Extremes and last values are kept up to date by every insert: a run may have millions of points.
CREATE TABLE metric_keys (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    last_step INTEGER NOT NULL,
    last_value REAL,
    min_value REAL,
    max_value REAL,
    UNIQUE (run_id, key)
) STRICT;

-- Facts that all points of a step share.
CREATE TABLE metric_steps (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    time INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (run_id, step)
) STRICT, WITHOUT ROWID;

-- A key belongs to one run, so a series lies in one piece, in the order of steps.
CREATE TABLE points (
    key_id INTEGER NOT NULL REFERENCES metric_keys (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    value REAL,
    nonfinite TEXT,
    PRIMARY KEY (key_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE samples (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    data TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX samples_run ON samples (run_id, step, id);

CREATE TABLE checkpoints (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    artifact_key TEXT NOT NULL UNIQUE,
    accuracy REAL,
    is_last INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    promoted_as TEXT UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX checkpoints_run ON checkpoints (run_id, step);

CREATE TABLE models (
    name TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    parameters INTEGER NOT NULL,
    path TEXT NOT NULL,
    card TEXT NOT NULL,
    recommended TEXT NOT NULL,
    source TEXT NOT NULL,
    project TEXT NOT NULL,
    created_by TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE datasets (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('uploading', 'validating', 'ready', 'invalid')),
    source TEXT NOT NULL,
    train_rows INTEGER NOT NULL,
    eval_rows INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    card TEXT NOT NULL,
    recommended TEXT NOT NULL,
    project TEXT NOT NULL,
    created_by TEXT,
    created_at INTEGER NOT NULL
) STRICT;

-- AUTOINCREMENT: a sequence number never comes twice, not even after pruning.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    job_id TEXT,
    run_id TEXT,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_job ON events (job_id, seq) WHERE job_id IS NOT NULL;
CREATE INDEX events_run ON events (run_id, seq) WHERE run_id IS NOT NULL;

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    device_class TEXT NOT NULL,
    device TEXT NOT NULL,
    memory_bytes INTEGER,
    state TEXT NOT NULL CHECK (state IN ('idle', 'busy', 'draining', 'stopped', 'crashed')),
    job_id TEXT,
    started_at INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    key TEXT NOT NULL,
    route TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    -- Absent while the first request is being answered.
    status INTEGER,
    body BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (key, route)
) STRICT;
