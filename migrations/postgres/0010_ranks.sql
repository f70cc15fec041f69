-- How many processes share a job, and how many a worker can start for one.
ALTER TABLE jobs ADD COLUMN ranks BIGINT NOT NULL DEFAULT 1;
ALTER TABLE workers ADD COLUMN ranks BIGINT NOT NULL DEFAULT 1;
