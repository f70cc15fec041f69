-- Best: the highest score, the earliest of equals; where none was measured the newest.
UPDATE runs
SET last_checkpoint = (SELECT id FROM checkpoints WHERE run_id = $1 ORDER BY step DESC, id DESC LIMIT 1),
    best_checkpoint = (
        SELECT id
        FROM checkpoints
        WHERE run_id = $1
        ORDER BY score DESC NULLS LAST, CASE WHEN score IS NULL THEN -step ELSE step END, id
        LIMIT 1
    ),
    updated_at = $2
WHERE id = $1
