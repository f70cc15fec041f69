-- What the project ?1 stores: its checkpoints and its data sets.
SELECT
    (
        SELECT coalesce(sum(json_extract(manifest, '$.size_bytes')), 0)
        FROM checkpoints JOIN runs ON runs.id = checkpoints.run_id
        WHERE runs.project = ?1
    )
    + (SELECT coalesce(sum(json_extract(card, '$.size_bytes')), 0) FROM datasets WHERE project = ?1) AS bytes
