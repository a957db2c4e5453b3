-- Views with a reduce: groups come, change and go with documents; large ones have trees.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT docstore.create_collection('orders');
INSERT INTO orders SELECT 'o/' || g, jsonb_build_object('city', 'c' || g % 3, 'day', date '2024-01-01' + g % 40,
	'lines', jsonb_build_array(jsonb_build_object('sku', 's' || g % 4, 'qty', g), jsonb_build_object('sku', 's' || g % 5, 'qty', 1)))
FROM generate_series(1, 100) AS g;

SELECT docstore.create_view('by_sku', collections => '{orders}',
	map => $$ SELECT l->>'sku' AS sku, 1::bigint AS lines, (l->>'qty')::bigint AS qty FROM docs, jsonb_array_elements(doc->'lines') AS l $$,
	reduce => $$ SELECT sku, sum(lines)::bigint AS lines, sum(qty)::bigint AS qty FROM results GROUP BY sku $$);
\d by_sku
SELECT docstore.wait_for_view('by_sku');
SELECT * FROM by_sku ORDER BY sku;
SELECT l->>'sku' AS sku, count(*), sum((l->>'qty')::bigint) FROM orders, jsonb_array_elements(doc->'lines') AS l GROUP BY 1 ORDER BY 1;

-- Changes in old groups and new; groups that become empty vanish.
UPDATE orders SET doc = doc || '{"lines": [{"sku": "new", "qty": 7}]}' WHERE id = 'o/1';
DELETE FROM orders WHERE (substr(id, 3)::int) % 4 = 1;
DELETE FROM orders WHERE doc->'lines'->1->>'sku' = 's0';
UPDATE orders SET doc = doc #- '{lines,1}';
SELECT docstore.wait_for_view('by_sku');
SELECT * FROM by_sku ORDER BY sku;
SELECT l->>'sku' AS sku, count(*), sum((l->>'qty')::bigint) FROM orders, jsonb_array_elements(doc->'lines') AS l GROUP BY 1 ORDER BY 1;
SELECT name, state, rows, groups FROM docstore.view_status;

-- Read like any view: seeks, orders, joins.
EXPLAIN (COSTS OFF) SELECT qty FROM by_sku WHERE sku = 's3';
SELECT qty FROM by_sku WHERE sku = 's3';
EXPLAIN (COSTS OFF) SELECT sku FROM by_sku WHERE sku > 's' ORDER BY sku DESC LIMIT 2;
SELECT sku FROM by_sku WHERE sku > 's' ORDER BY sku DESC LIMIT 2;
SELECT count(*) FROM by_sku;
-- With ANALYZE, EXPLAIN shows as of which etag the rows are.
DO $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM by_sku' INTO plan;
	ASSERT (plan->0->'Plan'->>'Position')::bigint = (SELECT position FROM docstore.view_status WHERE name = 'by_sku')
		AND (plan->0->'Plan'->>'Position')::bigint >= (SELECT max(etag) FROM orders), plan;
END
$$;

-- Several columns and an order; expressions; the grand total; finalize.
SELECT docstore.create_view('by_city_day', collections => '{orders}', key => 'day DESC',
	map => $$ SELECT doc->>'city' AS city, (doc->>'day')::date AS day, 1::bigint AS n FROM docs $$,
	reduce => 'SELECT city, day, sum(n)::bigint AS n FROM results GROUP BY day, city');
SELECT docstore.create_view('by_month', collections => '{orders}',
	map => $$ SELECT (doc->>'day')::timestamp AS month, 1::bigint AS n, (doc->>'day')::date AS first, (doc->>'day')::date AS last FROM docs $$,
	reduce => $$ SELECT date_trunc('month', month) AS month, sum(n)::bigint AS n, min(first) AS first, max(last) AS last FROM results GROUP BY 1 $$);
SELECT docstore.create_view('total', collections => '{orders}',
	map => $$ SELECT 1::bigint AS n, (l->>'qty')::numeric AS qty FROM docs, jsonb_array_elements(doc->'lines') AS l $$,
	reduce => 'SELECT sum(n)::bigint AS n, sum(qty) AS qty FROM results',
	finalize => 'SELECT n AS lines, qty, round(qty / n, 2) AS average FROM results');
SELECT docstore.wait_for_view('by_city_day'), docstore.wait_for_view('by_month'), docstore.wait_for_view('total');
EXPLAIN (COSTS OFF) SELECT * FROM by_city_day ORDER BY day DESC, city LIMIT 3;
SELECT * FROM by_city_day ORDER BY day DESC, city LIMIT 3;
SELECT * FROM by_month ORDER BY month;
SELECT date_trunc('month', (doc->>'day')::timestamp) AS month, count(*), min(doc->>'day'), max(doc->>'day') FROM orders GROUP BY 1 ORDER BY 1;
SELECT * FROM total;
SELECT count(*), sum((l->>'qty')::numeric), round(avg((l->>'qty')::numeric), 2) FROM orders, jsonb_array_elements(doc->'lines') AS l;
-- A roll-up by the first columns of the key needs no sort.
EXPLAIN (COSTS OFF) SELECT day, sum(n) FROM by_city_day WHERE day > '2024-02-07' GROUP BY day ORDER BY day DESC;
SELECT day, sum(n) FROM by_city_day WHERE day > '2024-02-07' GROUP BY day ORDER BY day DESC;

-- Without documents there are no groups, but a total.
TRUNCATE orders;
SELECT docstore.wait_for_view('by_sku'), docstore.wait_for_view('total');
SELECT * FROM by_sku;
SELECT * FROM total;
INSERT INTO orders VALUES ('x', '{"lines": [{"sku": "x", "qty": 9223372036854775807}]}');
SELECT docstore.wait_for_view('by_sku'), docstore.wait_for_view('total');
SELECT * FROM by_sku;
SELECT * FROM total;

-- An error of the reduce is its group's, until it is mended.
INSERT INTO orders VALUES ('y', '{"lines": [{"sku": "x", "qty": 1}, {"sku": "z", "qty": 2}]}');
SELECT docstore.wait_for_view('by_sku');
SELECT * FROM by_sku WHERE sku = 'z';
SELECT * FROM by_sku WHERE sku = 'x';
SELECT count(*) FROM by_sku;
SELECT name, state, groups, errors, last_error FROM docstore.view_status WHERE name = 'by_sku';
SELECT view, collection, id, etag, "group", sqlstate, message FROM docstore.view_errors;
UPDATE orders SET doc = '{"lines": [{"sku": "x", "qty": -5}]}' WHERE id = 'y';
SELECT docstore.wait_for_view('by_sku');
SELECT * FROM by_sku;

SELECT view, "group" FROM docstore.view_errors;

-- The same with groups of several columns, a tree, and a finalize that is given later; a group that goes leaves the list, too.
SET docstore.view_block_rows = 2;
SELECT docstore.create_view('ratio', $$ SELECT doc->>'a' AS a, (doc->>'day')::date AS b, (doc->>'n')::int AS n FROM docs WHERE doc ? 'n' $$, '{orders}', 'b DESC',
	reduce => 'SELECT a, b, sum(n)::int AS n FROM results GROUP BY a, b');
RESET docstore.view_block_rows;
INSERT INTO orders SELECT 'r' || g, jsonb_build_object('a', nullif('a"' || g % 2, 'a"1'), 'day', '2024-01-01', 'n', CASE g % 2 WHEN 0 THEN 2000000000 ELSE g END) FROM generate_series(1, 20) AS g;
SELECT docstore.wait_for_view('ratio');
SELECT view, "group", message FROM docstore.view_errors;
SELECT docstore.replace_view('ratio', $$ SELECT doc->>'a' AS a, (doc->>'day')::date AS b, (doc->>'n')::int AS n FROM docs WHERE doc ? 'n' $$, '{orders}', 'b DESC',
	reduce => 'SELECT a, b, sum(n)::int AS n FROM results GROUP BY a, b', finalize => 'SELECT a, b, 1 / (n - 100) AS n FROM results');
SELECT view, "group", message FROM docstore.view_errors ORDER BY message;
UPDATE orders SET doc = doc || '{"n": 1}' WHERE id IN ('r1', 'r2', 'r4', 'r6', 'r8', 'r10', 'r12', 'r14', 'r16', 'r18', 'r20');
SELECT docstore.wait_for_view('ratio');
SELECT view, "group", message FROM docstore.view_errors ORDER BY message;
SELECT a, b, n FROM ratio WHERE b = '2024-01-01' AND a = 'a"0';
DELETE FROM orders WHERE id LIKE 'r%' AND doc->>'a' IS NULL;
SELECT docstore.wait_for_view('ratio');
SELECT view, "group", message FROM docstore.view_errors;
SELECT docstore.drop_view('ratio');
DELETE FROM orders WHERE id LIKE 'r%';

-- A view becomes one with a reduce, and another.
SELECT docstore.create_view('turning', 'SELECT doc->>''k'' AS k, 1::bigint AS n FROM docs', '{orders}', 'k');
TRUNCATE orders;
INSERT INTO orders SELECT 'n' || g, jsonb_build_object('k', 'k' || g % 3) FROM generate_series(1, 10) AS g;
SELECT docstore.wait_for_view('turning');
SELECT count(*) FROM turning;
SELECT docstore.replace_view('turning', 'SELECT doc->>''k'' AS k, 1::bigint AS n FROM docs', '{orders}', reduce => 'SELECT k, sum(n)::bigint AS n FROM results GROUP BY k');
SELECT docstore.wait_for_view('turning');
SELECT * FROM turning ORDER BY k;
SELECT docstore.replace_view('turning', 'SELECT doc->>''k'' AS k, 1::bigint AS n FROM docs', '{orders}', 'k DESC');
SELECT docstore.wait_for_view('turning');
SELECT * FROM turning ORDER BY k, id LIMIT 2;
SELECT docstore.drop_view('turning');

-- A tree: one changed document costs a block, and a reduction on each level above it.
SELECT docstore.drop_view(name) FROM docstore.views;
TRUNCATE orders;
INSERT INTO orders SELECT 't' || g, jsonb_build_object('n', g) FROM generate_series(1, 20000) AS g;
SET docstore.view_block_rows = 4;
SELECT docstore.create_view('deep', 'SELECT ''all'' AS what, (doc->>''n'')::bigint AS n FROM docs', '{orders}',
	reduce => 'SELECT what, sum(n)::bigint AS n FROM results GROUP BY what');
RESET docstore.view_block_rows;
SELECT docstore.wait_for_view('deep');
SELECT what, n FROM deep;
CREATE TEMP TABLE was AS SELECT reductions FROM docstore.view_status;
UPDATE orders SET doc = '{"n": -1}' WHERE id = 't77';
SELECT docstore.wait_for_view('deep');
SELECT what, n = 20000::bigint * 20001 / 2 - 78 AS right FROM deep;
SELECT s.reductions - was.reductions <= 6 AS few, s.reductions > was.reductions AS some FROM docstore.view_status s, was;
DELETE FROM orders WHERE id <> 't77';
SELECT docstore.wait_for_view('deep');
SELECT what, n FROM deep;
DROP TABLE was;
SELECT docstore.drop_view('deep');

-- Sums of parts that are too large are errors of the whole, whether a view is changed or made: what a view says does not depend on its history.
TRUNCATE orders;
INSERT INTO orders SELECT 'p' || g, '{"n": 0}' FROM generate_series(1, 1000) AS g;
SET docstore.view_block_rows = 4;
SELECT docstore.create_view('parts', 'SELECT ''all'' AS what, (doc->>''n'')::smallint AS n FROM docs', '{orders}',
	reduce => 'SELECT what, sum(n)::smallint AS n FROM results GROUP BY what');
SELECT docstore.wait_for_view('parts');
SELECT what, n FROM parts;
UPDATE orders SET doc = jsonb_build_object('n', CASE right(id, 1)::int % 2 WHEN 0 THEN 20000 ELSE -20000 END);
SELECT docstore.wait_for_view('parts');
SELECT message FROM docstore.view_errors;
SELECT docstore.create_view('parts_anew', 'SELECT ''all'' AS what, (doc->>''n'')::smallint AS n FROM docs', '{orders}',
	reduce => 'SELECT what, sum(n)::smallint AS n FROM results GROUP BY what');
RESET docstore.view_block_rows;
SELECT docstore.wait_for_view('parts_anew');
SELECT view, message FROM docstore.view_errors ORDER BY view;
UPDATE orders SET doc = '{"n": 3}';
SELECT docstore.wait_for_view('parts'), docstore.wait_for_view('parts_anew');
SELECT what, n FROM parts UNION ALL SELECT what, n FROM parts_anew;
SELECT docstore.drop_view('parts'), docstore.drop_view('parts_anew');

-- What a view does not see of a document costs it nothing but the map.
TRUNCATE orders;
INSERT INTO orders SELECT 's' || g, jsonb_build_object('k', 'k' || g % 2, 'n', g) FROM generate_series(1, 4) AS g;
SELECT docstore.create_view('sums', collections => '{orders}',
	map => $$ SELECT doc->>'k' AS k, 1 AS n, (doc->>'n')::smallint AS small, (doc->>'d')::numeric AS d FROM docs $$,
	reduce => 'SELECT k, sum(n)::int AS n, sum(small)::smallint AS small, sum(d) AS d FROM results GROUP BY k',
	finalize => 'SELECT k, n, small, d, d / n AS average FROM results');
SELECT docstore.wait_for_view('sums');
SELECT reductions AS before FROM docstore.view_status WHERE name = 'sums' \gset
UPDATE orders SET doc = doc || '{"unseen": true}';
SELECT docstore.wait_for_view('sums');
SELECT reductions - :before AS reductions FROM docstore.view_status WHERE name = 'sums';

-- Sums are changed by what came and went, and are as they would be if they were added up again: null where there is
-- nothing but nulls, with as many decimals as any of the numbers, and also where some is none.
SELECT * FROM sums ORDER BY k;
UPDATE orders SET doc = doc || '{"d": 1.50}' WHERE id IN ('s1', 's2');
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums ORDER BY k;
UPDATE orders SET doc = doc || '{"d": 2.125}' WHERE id = 's3';
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums ORDER BY k;
UPDATE orders SET doc = doc || '{"d": 2}' WHERE id IN ('s2', 's3');
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums ORDER BY k;
UPDATE orders SET doc = doc || '{"d": "NaN"}' WHERE id = 's1';
UPDATE orders SET doc = doc || '{"k": "k0"}' WHERE id = 's3';
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums ORDER BY k;
UPDATE orders SET doc = doc || '{"d": 0.5}' WHERE id = 's1';
UPDATE orders SET doc = doc - 'd' WHERE id IN ('s2', 's3');
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums ORDER BY k;
UPDATE orders SET doc = doc || '{"n": 32767}' WHERE id = 's2';
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums WHERE k = 'k0';
UPDATE orders SET doc = doc || '{"n": -32767}' WHERE id = 's3';
DELETE FROM orders WHERE id = 's1';
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums ORDER BY k;
SELECT docstore.drop_view('sums');
SELECT docstore.drop_collection('orders');
