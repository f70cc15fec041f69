-- How far each tracker that a job reports to has the metrics of its run.
CREATE TABLE trackers (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    tracker TEXT NOT NULL,
    -- What the tracker calls the run.
    remote_id TEXT,
    -- The last event that it has.
    seq INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    problem TEXT,
    -- Absent when there is nothing left to send. A server that sends moves the time on, so that no other one does.
    next_at INTEGER,
    PRIMARY KEY (run_id, tracker)
) STRICT, WITHOUT ROWID;
CREATE INDEX trackers_due ON trackers (next_at) WHERE next_at IS NOT NULL;
