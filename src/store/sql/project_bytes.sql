-- What the project $1 stores: its checkpoints and its data sets. A sum of whole numbers is not a whole number in every database.
SELECT
    (
        SELECT coalesce(CAST(sum(CAST(manifest ->> 'size_bytes' AS BIGINT)) AS BIGINT), 0)
        FROM checkpoints JOIN runs ON runs.id = checkpoints.run_id
        WHERE runs.project = $1
    )
    + (
        SELECT coalesce(CAST(sum(CAST(card ->> 'size_bytes' AS BIGINT)) AS BIGINT), 0)
        FROM datasets
        WHERE project = $1
    ) AS bytes
