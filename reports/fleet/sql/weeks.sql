-- p50 and p99 of each window and phase by week.
--
-- Lengths are ns. Only updates that are done are counted (`unknown`: runs of an older luo-trace).
-- A percentile is blank where n does not carry it: p50 takes 5 runs, p99 takes 299. What no
-- clock saw (the gap between the kernels) has columns of its own, derived_*.
WITH lengths AS (
    SELECT
        week, mode, workload, kind, phase, derived,
        count(*) AS n,
        CAST(floor(median(duration_ns)) AS BIGINT) AS p50,
        percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ns) AS p99
    FROM phases
    WHERE outcome IN ('done', 'unknown')
    GROUP BY week, mode, workload, kind, phase, derived
),
attempts AS (
    SELECT
        week, mode, workload,
        sum(CASE WHEN result = 'aborted' THEN 1 ELSE 0 END) AS aborted,
        sum(CASE WHEN result IN ('refused', 'partial', 'unfinished', 'no-op') THEN 1 ELSE 0 END) AS failed
    FROM outcomes
    GROUP BY week, mode, workload
)
SELECT
    l.week, l.mode, l.workload, l.kind, l.phase,
    sum(CASE WHEN l.derived THEN 0 ELSE l.n END) AS n,
    max(CASE WHEN NOT l.derived AND l.n >= 5 THEN l.p50 END) AS p50_ns,
    max(CASE WHEN NOT l.derived AND l.n >= 299 THEN l.p99 END) AS p99_ns,
    sum(CASE WHEN l.derived THEN l.n ELSE 0 END) AS derived_n,
    max(CASE WHEN l.derived AND l.n >= 5 THEN l.p50 END) AS derived_p50_ns,
    max(CASE WHEN l.derived AND l.n >= 299 THEN l.p99 END) AS derived_p99_ns,
    max(a.aborted) AS aborted,
    max(a.failed) AS failed
FROM lengths AS l
LEFT JOIN attempts AS a ON a.week = l.week AND a.mode = l.mode AND a.workload = l.workload
GROUP BY l.week, l.mode, l.workload, l.kind, l.phase
ORDER BY l.week, l.mode, l.workload, l.kind DESC, l.phase
