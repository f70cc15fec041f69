-- Sets of jobs that were submitted together, what people last asked of a job, and where a run comes from.

CREATE TABLE sweeps (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    project TEXT NOT NULL,
    created_by TEXT,
    base TEXT NOT NULL,
    grid TEXT NOT NULL,
    points INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

ALTER TABLE jobs ADD COLUMN sweep_id TEXT REFERENCES sweeps (id) ON DELETE SET NULL;
-- The settings that tell this job from the others of its sweep: JSON pointer -> value.
ALTER TABLE jobs ADD COLUMN sweep_point TEXT;
-- The last thing that people asked of the job: asking the same again is a repeat.
ALTER TABLE jobs ADD COLUMN asked TEXT CHECK (asked IN ('pause', 'resume', 'cancel', 'retry'));
-- The registered model that the run grew from, though the checkpoints in between may be gone.
ALTER TABLE runs ADD COLUMN base_model TEXT;

CREATE INDEX jobs_sweep ON jobs (sweep_id) WHERE sweep_id IS NOT NULL;
