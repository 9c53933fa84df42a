-- Did the new kernel make it worse, in which phase, on which model? Each kernel pair beside the
-- one that was first seen before it on the same model.
--
-- Lengths are ns; negative shifts are faster; `derived` lengths no clock saw. Whether a shift is
-- more than chance, `luo-trace compare` says of the runs themselves.
WITH lengths AS (
    SELECT
        kind, phase, derived, model, mode, workload, pair,
        count(*) AS n,
        min(week) AS first_week,
        CAST(floor(median(duration_ns)) AS BIGINT) AS p50,
        percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ns) AS p99
    FROM phases
    WHERE outcome IN ('done', 'unknown')
    GROUP BY kind, phase, derived, model, mode, workload, pair
),
pairs AS (
    SELECT
        kind, phase, derived, model, mode, workload, pair, n, p50, p99,
        lag(pair) OVER (PARTITION BY kind, phase, derived, model, mode, workload ORDER BY first_week, pair) AS base_pair,
        lag(n) OVER (PARTITION BY kind, phase, derived, model, mode, workload ORDER BY first_week, pair) AS base_n,
        lag(p50) OVER (PARTITION BY kind, phase, derived, model, mode, workload ORDER BY first_week, pair) AS base_p50,
        lag(p99) OVER (PARTITION BY kind, phase, derived, model, mode, workload ORDER BY first_week, pair) AS base_p99
    FROM lengths
)
SELECT
    model, mode, workload, base_pair, pair, kind, phase, derived,
    base_n,
    n,
    CASE WHEN base_n >= 5 AND n >= 5 THEN base_p50 END AS base_p50_ns,
    CASE WHEN base_n >= 5 AND n >= 5 THEN p50 END AS p50_ns,
    CASE WHEN base_n >= 5 AND n >= 5 THEN p50 - base_p50 END AS p50_shift_ns,
    CASE WHEN base_n >= 299 AND n >= 299 THEN p99 - base_p99 END AS p99_shift_ns
FROM pairs
WHERE base_pair IS NOT NULL
ORDER BY model, mode, workload, pair, base_pair, kind DESC, phase, derived
