-- Every point of a series: $1 run, $2 key id, steps $3 to $4.
SELECT
    printf('%d %d %d %d', points.step, steps.time, steps.samples, steps.tokens) AS numbers,
    points.value,
    points.nonfinite
FROM points
JOIN metric_steps AS steps ON steps.run_id = $1 AND steps.step = points.step
WHERE points.key_id = $2 AND points.step BETWEEN $3 AND $4
ORDER BY points.step
