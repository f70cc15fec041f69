-- Every point of a series as one row of arrays: $1 run, $2 key id, steps $3 to $4.
SELECT
    array_agg(series.step),
    array_agg(series.time),
    array_agg(series.samples),
    array_agg(series.tokens),
    array_agg(series.value),
    array_agg(series.nonfinite)
FROM (
    SELECT points.step, steps.time, steps.samples, steps.tokens, points.value, points.nonfinite
    FROM points
    JOIN metric_steps AS steps ON steps.run_id = $1 AND steps.step = points.step
    WHERE points.key_id = $2 AND points.step BETWEEN $3 AND $4
    ORDER BY points.step
) AS series
