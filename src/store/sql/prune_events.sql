-- The oldest events before the first one that is not older than $1, at most $2 of them.
DELETE FROM events
WHERE seq IN (
    SELECT seq
    FROM events
    WHERE seq < coalesce((SELECT min(seq) FROM events WHERE time >= $1), (SELECT max(seq) + 1 FROM events))
    ORDER BY seq
    LIMIT $2
)
