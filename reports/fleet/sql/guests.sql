-- How long virtual machines stood still, by kernel pair and host model. Lengths are ns.
SELECT
    pair, model, mode, workload,
    count(window_ns) AS n,
    CASE WHEN count(window_ns) >= 5 THEN CAST(floor(median(window_ns)) AS BIGINT) END AS p50_ns,
    CASE WHEN count(window_ns) >= 299
        THEN percentile_disc(0.99) WITHIN GROUP (ORDER BY window_ns) END AS p99_ns,
    max(window_ns) AS max_ns,
    sum(CASE WHEN window_ns IS NULL THEN 1 ELSE 0 END) AS without_window
FROM guests
GROUP BY pair, model, mode, workload
ORDER BY pair, model, mode, workload
