-- A series in $5 buckets of equal width: $1 run, $2 key id, steps $3 to $4.
WITH buckets AS (
    SELECT
        max(step) AS step,
        avg(value) AS mean,
        max(nonfinite) AS nonfinite,
        min(value) AS min,
        max(value) AS max,
        count(*) AS count
    FROM points
    WHERE key_id = $2 AND step BETWEEN $3 AND $4
    GROUP BY (step - $3) * $5 / ($4 - $3 + 1)
)
SELECT
    buckets.step,
    steps.time,
    steps.samples,
    steps.tokens,
    buckets.mean,
    buckets.nonfinite,
    buckets.min,
    buckets.max,
    buckets.count
FROM buckets
JOIN metric_steps AS steps ON steps.run_id = $1 AND steps.step = buckets.step
ORDER BY buckets.step
