-- The same in ?5 buckets of equal width.
WITH buckets AS (
    SELECT
        max(step) AS step,
        avg(value) AS mean,
        min(value) AS min,
        max(value) AS max,
        count(*) AS count,
        max(nonfinite) AS nonfinite
    FROM points
    WHERE key_id = ?2 AND step BETWEEN ?3 AND ?4
    GROUP BY (step - ?3) * ?5 / (?4 - ?3 + 1)
)
SELECT
    buckets.step,
    steps.time,
    steps.samples,
    steps.tokens,
    buckets.mean,
    buckets.min,
    buckets.max,
    buckets.count,
    buckets.nonfinite
FROM buckets
JOIN metric_steps AS steps ON steps.run_id = ?1 AND steps.step = buckets.step
ORDER BY buckets.step
