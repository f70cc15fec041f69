-- Numbers that only grow and must survive the process that counts them.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- The form of the settings: a worker claims no job whose settings are of a later form than it knows.
ALTER TABLE jobs ADD COLUMN spec_version BIGINT NOT NULL DEFAULT 1;
