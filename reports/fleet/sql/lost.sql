-- Hosts that did not come back: they were told to update (`add --told`), and the store
-- has no run of an update out of the kernel that they ran then.
SELECT t.host, t.region, t.model, t.pair, t.week, t.attempted_at, t.old_boot_id
FROM outcomes AS t
LEFT JOIN runs AS r ON r.old_boot_id = t.old_boot_id
WHERE t.result = 'told' AND r.run_id IS NULL
ORDER BY t.attempted_at, t.host, t.old_boot_id
