-- How many jobs of a project may be at work at the same time; without a number any. `*`: projects that have no row.
CREATE TABLE project_quotas (
    project TEXT PRIMARY KEY,
    running_jobs INTEGER
) STRICT;
CREATE INDEX jobs_held ON jobs (project) WHERE lease_worker IS NOT NULL;
