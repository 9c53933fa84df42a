-- Hosts with updates that were aborted, refused or restored only in part: how many of each,
-- out of all attempts, and one of the reasons.
SELECT
    host, model, region, pair,
    sum(CASE WHEN result <> 'told' THEN 1 ELSE 0 END) AS n,
    sum(CASE WHEN result = 'aborted' THEN 1 ELSE 0 END) AS aborted,
    sum(CASE WHEN result = 'refused' THEN 1 ELSE 0 END) AS refused,
    sum(CASE WHEN result IN ('partial', 'unfinished') THEN 1 ELSE 0 END) AS partial_or_unfinished,
    max(CASE WHEN result = 'aborted' THEN why END) AS reason
FROM outcomes
GROUP BY host, model, region, pair
HAVING sum(CASE WHEN result IN ('aborted', 'refused', 'partial', 'unfinished') THEN 1 ELSE 0 END) > 0
ORDER BY aborted DESC, refused DESC, partial_or_unfinished DESC, host, model, region, pair
