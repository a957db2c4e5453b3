-- Parallel scans of views: processes share the range of the key, and each returns its rows in order.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;

SELECT docstore.create_collection('sales');
INSERT INTO sales SELECT 's/' || g, jsonb_build_object('region', 'r' || g % 7, 'city', 'c' || g % 1001, 'total', g) FROM generate_series(1, 20000) AS g;
SELECT docstore.create_view('by_total', $$ SELECT (doc->>'total')::int AS total, doc->>'region' AS region FROM docs $$, '{sales}', 'total');
SELECT docstore.create_view('by_city', $$ SELECT doc->>'region' AS region, doc->>'city' AS city, 1::bigint AS n, (doc->>'total')::bigint AS total FROM docs $$, '{sales}',
	'region, city', 'SELECT region, city, sum(n)::bigint AS n, sum(total)::bigint AS total FROM results GROUP BY region, city');
SELECT docstore.wait_for_view('by_total'), docstore.wait_for_view('by_city');
SELECT docstore.compact('sales');
ANALYZE by_total;
ANALYZE by_city;

EXPLAIN (COSTS OFF) SELECT count(*), sum(total) FROM by_total;
SELECT count(*), sum(total) FROM by_total;
EXPLAIN (COSTS OFF) SELECT count(*), sum(total) FROM by_total WHERE total > 5000 AND total <= 15000;
SELECT count(*), sum(total) FROM by_total WHERE total > 5000 AND total <= 15000;
SELECT count(*) FROM by_total WHERE total > 5 AND total < 5;
SELECT count(*) FROM by_total WHERE total > NULL;
-- (lookups are not shared)
EXPLAIN (COSTS OFF) SELECT count(*) FROM by_total WHERE total IN (1, 2, 3);
SELECT count(*) FROM by_total WHERE total IN (1, 2, 3);

-- More than one process reads.
CREATE FUNCTION plan(query text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	result json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, FORMAT json) ' || query INTO result;
	RETURN result->0->'Plan';
END $$;
SET parallel_leader_participation = off;
WITH RECURSIVE nodes (node) AS (
	SELECT plan('SELECT sum(total) FROM by_total') UNION ALL SELECT json_array_elements(node->'Plans') FROM nodes)
SELECT node->>'Parallel Aware' AS parallel, (node->>'Actual Loops')::int AS processes
FROM nodes WHERE node->>'Node Type' = 'Foreign Scan';
RESET parallel_leader_participation;

-- In order, either way: merging is enough.
EXPLAIN (COSTS OFF) SELECT total, id FROM by_total WHERE region = 'r3' ORDER BY total;
SELECT array_agg(total) = (SELECT array_agg(g ORDER BY g) FROM generate_series(3, 20000, 7) AS g) AS same FROM (SELECT total FROM by_total WHERE region = 'r3' ORDER BY total) AS s;
EXPLAIN (COSTS OFF) SELECT total, id FROM by_total WHERE region = 'r3' ORDER BY total DESC;
SELECT array_agg(total) = (SELECT array_agg(g ORDER BY g DESC) FROM generate_series(3, 20000, 7) AS g) AS same FROM (SELECT total FROM by_total WHERE region = 'r3' ORDER BY total DESC) AS s;

-- A roll-up by the first columns of a reduce view's key adds up the groups' results, which are partial results of it: no document and no
-- row of the map is read, nothing is sorted; processes that share the work each add up their part.
SET max_parallel_workers_per_gather = 1;
EXPLAIN (COSTS OFF) SELECT region, sum(n), sum(total) FROM by_city GROUP BY region ORDER BY region;
SELECT region, sum(n), sum(total) FROM by_city GROUP BY region ORDER BY region;
SELECT doc->>'region' AS region, count(*), sum((doc->>'total')::bigint) FROM sales GROUP BY 1 ORDER BY 1;
SET max_parallel_workers_per_gather = 0;
EXPLAIN (COSTS OFF) SELECT region, sum(n), sum(total) FROM by_city GROUP BY region ORDER BY region;
EXPLAIN (COSTS OFF) SELECT sum(n), sum(total) FROM by_city WHERE region = 'r3';
SELECT sum(n), sum(total) FROM by_city WHERE region = 'r3';
WITH RECURSIVE nodes (node) AS (
	SELECT plan('SELECT region, sum(n), sum(total) FROM by_city GROUP BY region ORDER BY region') UNION ALL SELECT json_array_elements(node->'Plans') FROM nodes)
SELECT (node->>'Actual Rows')::int AS rows, (SELECT groups FROM docstore.view_status WHERE name = 'by_city') AS groups
FROM nodes WHERE node->>'Node Type' = 'Foreign Scan';

-- Joins, parameters and repeated scans.
SET max_parallel_workers_per_gather = 2;
PREPARE above(int) AS SELECT count(*) FROM by_total WHERE total > $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE above(19990);
EXECUTE above(0);
RESET plan_cache_mode;
SELECT (SELECT count(*) FROM by_total WHERE total > g * 5000 AND region < 'r9') FROM generate_series(0, 4) AS g;
SELECT count(*) FROM by_total t JOIN by_city c ON c.region = t.region AND c.city = 'c' || t.total % 1001;
DROP FUNCTION plan(text);
SELECT docstore.drop_view('by_total'), docstore.drop_view('by_city');
SELECT docstore.drop_collection('sales');
