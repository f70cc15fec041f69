INSERT INTO events (time, kind, job_id, run_id, project, data)
