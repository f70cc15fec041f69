-- How many GPUs the jobs of a project may hold at the same time; without a number any.
ALTER TABLE project_quotas ADD COLUMN gpus INTEGER;
