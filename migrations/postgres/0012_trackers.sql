-- How far each tracker that a job reports to has the metrics of its run.
CREATE TABLE trackers (
    run_id TEXT COLLATE "C" NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    tracker TEXT COLLATE "C" NOT NULL,
    -- What the tracker calls the run.
    remote_id TEXT COLLATE "C",
    -- The last event that it has.
    seq BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    problem TEXT COLLATE "C",
    -- Absent when there is nothing left to send. A server that sends moves the time on, so that no other one does.
    next_at BIGINT,
    PRIMARY KEY (run_id, tracker)
);
CREATE INDEX trackers_due ON trackers (next_at) WHERE next_at IS NOT NULL;
