SELECT * FROM jobs WHERE after_job = $1 AND state = 'queued' ORDER BY id
