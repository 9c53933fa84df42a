-- Where the time of each phase goes, function by function: the mean over the runs that have it.
--
-- Calls lie inside one another, so that the times do not add up to the phase. Lengths are ns.
SELECT
    pair, mode, workload, kernel, phase, function,
    count(*) AS n,
    sum(n_calls) AS calls,
    CAST(floor(CAST(sum(total_ns) AS DOUBLE) / count(*)) AS BIGINT) AS mean_total_ns,
    max(max_ns) AS longest_call_ns
FROM calls
WHERE outcome IN ('done', 'unknown')
GROUP BY pair, mode, workload, kernel, phase, function
ORDER BY pair, mode, workload, mean_total_ns DESC, function, kernel, phase
LIMIT 200
