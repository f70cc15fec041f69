-- What the project $1 stores: its checkpoints and its data sets.
SELECT
    (
        SELECT coalesce(sum((manifest ->> 'size_bytes')::BIGINT), 0)
        FROM checkpoints JOIN runs ON runs.id = checkpoints.run_id
        WHERE runs.project = $1
    )::BIGINT
    + (SELECT coalesce(sum((card ->> 'size_bytes')::BIGINT), 0) FROM datasets WHERE project = $1)::BIGINT AS bytes
