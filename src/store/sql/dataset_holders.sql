-- Data sets on their way in, and the servers that work on them.
SELECT datasets.id AS dataset_id, datasets.server AS server_id, servers.heartbeat_at AS heard_at
FROM datasets LEFT JOIN servers ON servers.id = datasets.server
WHERE datasets.state IN ('uploading', 'validating')
ORDER BY datasets.id
