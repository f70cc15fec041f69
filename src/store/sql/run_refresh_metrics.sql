-- Last step and held-out accuracy of a run, from its metrics.
UPDATE runs
SET last_step = (SELECT max(step) FROM metric_steps WHERE run_id = $1),
    last_accuracy = (SELECT last_value FROM metric_keys WHERE run_id = $1 AND key = $2),
    best_accuracy = (SELECT max_value FROM metric_keys WHERE run_id = $1 AND key = $2),
    updated_at = $3
WHERE id = $1
