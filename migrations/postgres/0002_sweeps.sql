-- Sets of jobs that were submitted together, what people last asked of a job, and where a run comes from.

CREATE TABLE sweeps (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C",
    base JSON NOT NULL,
    grid JSON NOT NULL,
    points BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

ALTER TABLE jobs ADD COLUMN sweep_id TEXT COLLATE "C" REFERENCES sweeps (id) ON DELETE SET NULL;
-- The settings that tell this job from the others of its sweep: JSON pointer -> value.
ALTER TABLE jobs ADD COLUMN sweep_point JSON;
-- The last thing that people asked of the job: asking the same again is a repeat.
ALTER TABLE jobs ADD COLUMN asked TEXT COLLATE "C" CHECK (asked IN ('pause', 'resume', 'cancel', 'retry'));
-- The registered model that the run grew from, though the checkpoints in between may be gone.
ALTER TABLE runs ADD COLUMN base_model TEXT COLLATE "C";

CREATE INDEX jobs_sweep ON jobs (sweep_id) WHERE sweep_id IS NOT NULL;
