SELECT * FROM jobs WHERE lease_worker = $1 ORDER BY id
