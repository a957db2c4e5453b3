-- What a reduce may be: over parts of the rows and over its own results it must give the same as over all rows.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT docstore.create_collection('sales');
INSERT INTO sales SELECT 's' || g, jsonb_build_object('sku', 'k' || g % 4, 'qty', g) FROM generate_series(1, 60) AS g;
CREATE FUNCTION try(reduce text, map text DEFAULT NULL, key text DEFAULT NULL, finalize text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	SELECT docstore.create_view('tried', coalesce(map, 'SELECT doc->>''sku'' AS sku, 1::bigint AS n, (doc->>''qty'')::bigint AS qty FROM docs'),
		'{sales}', key, reduce, finalize); $$;

-- Aggregates that do not re-reduce, with the form that works.
SELECT try('SELECT sku, count(*) AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, avg(qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(DISTINCT qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, string_agg(sku, '','')::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, percentile_disc(0.5) WITHIN GROUP (ORDER BY qty) AS qty FROM results GROUP BY sku');

-- Each column from itself.
SELECT try('SELECT sku, sum(qty)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty * 2)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, (sum(qty) / 2)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty) FILTER (WHERE n > 1)::bigint AS qty FROM results GROUP BY sku');

-- What is around an aggregate leaves its results as they are, and what is within it is done again.
SELECT try('SELECT sku, sum(n)::bigint AS n, coalesce(max(qty), 0) AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, coalesce(sum(qty), 1)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::float8::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty::int::bool::int) AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(part)::int::numeric AS part FROM results GROUP BY sku', 'SELECT doc->>''sku'' AS sku, 0.3 AS part FROM docs');
SELECT try('SELECT sku, sum(part)::numeric(10,1) AS part FROM results GROUP BY sku', 'SELECT doc->>''sku'' AS sku, 0.33::numeric(10,2) AS part FROM docs');
SELECT try('SELECT sku, max(substring(name from 2)) AS name FROM results GROUP BY sku', 'SELECT doc->>''sku'' AS sku, id AS name FROM docs');
SELECT try('SELECT sku, substring(max(name) from 2) AS name FROM results GROUP BY sku', 'SELECT doc->>''sku'' AS sku, id AS name FROM docs');
BEGIN;
SELECT try('SELECT sku, coalesce(sum(n::numeric), 0)::bigint AS n, sum(coalesce(qty, 7)::int) AS qty, sum(part)::numeric(12,2) AS part, max(at::date)::timestamp AS at,
	coalesce(bool_and(paid), true) AS paid FROM results GROUP BY sku',
	'SELECT doc->>''sku'' AS sku, 1::bigint AS n, (doc->>''qty'')::bigint AS qty, 0.33::numeric(10,2) AS part, timestamp ''2024-02-03 04:05'' AS at, true AS paid FROM docs');
ROLLBACK;

-- The map's columns.
SELECT try('SELECT sku, sum(n) AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS number, sum(qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty, 1 AS one FROM results GROUP BY sku');
SELECT try('SELECT sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku');
SELECT try('SELECT sku, n, qty FROM results');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(quantity)::bigint AS qty FROM results GROUP BY sku');

-- Nothing but results, and no more than grouping.
SELECT try('SELECT s.sku, sum(s.n)::bigint AS n, sum(t.qty)::bigint AS qty FROM results s, results t GROUP BY s.sku');
SELECT try('SELECT id AS sku, 1::bigint AS n, 1::bigint AS qty FROM public.sales GROUP BY id');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results WHERE qty > 1 GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku HAVING sum(n) > 1');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku ORDER BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY ROLLUP (sku)');
SELECT try('SELECT sku, sum(n)::bigint AS n, (random() * sum(qty))::bigint AS qty FROM results GROUP BY sku');
SELECT try('DELETE FROM results');

-- The key names groups; groups must be of types with an order.
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku', key => 'qty DESC');
SELECT try('SELECT doc, sum(n)::bigint AS n FROM results GROUP BY doc', 'SELECT doc, 1::bigint AS n FROM docs');

-- finalize.
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku', finalize => 'SELECT sku, sum(n) AS n FROM results GROUP BY sku');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku', finalize => 'SELECT qty / n AS average FROM results');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku', finalize => 'SELECT upper(sku) AS sku, n FROM results');
SELECT try('SELECT sku, sum(n)::bigint AS n, sum(qty)::bigint AS qty FROM results GROUP BY sku', finalize => 'SELECT sku, qty / n FROM results');
INSERT INTO docstore.views VALUES ('tried', '{"collections": ["sales"], "map": "SELECT 1 AS a FROM docs", "finalize": "SELECT a FROM results"}');

-- What only a trial on documents finds: an aggregate of one's own that counts, a group that moves on.
CREATE AGGREGATE how_many(bigint) (sfunc = int8inc_any, stype = bigint, initcond = 0);
\set VERBOSITY terse
SELECT try('SELECT sku, sum(n)::bigint AS n, public.how_many(qty) AS qty FROM results GROUP BY sku');
\set VERBOSITY default
CREATE AGGREGATE plus(bigint) (sfunc = int8pl, stype = bigint);
SELECT try('SELECT qty + 1 AS qty, sum(n)::bigint AS n FROM results GROUP BY 1', 'SELECT (doc->>''qty'')::bigint AS qty, 1::bigint AS n FROM docs');

-- Floating point numbers that cancel each other out are no reason to refuse.
BEGIN;
SELECT try('SELECT sku, sum(n) AS n FROM results GROUP BY sku', 'SELECT doc->>''sku'' AS sku, (CASE WHEN (doc->>''qty'')::int > 30 THEN -1 ELSE 1 END * (((doc->>''qty'')::int + 29) % 30 + 0.1))::float4 AS n FROM docs');
ROLLBACK;

-- And one that is right.
SELECT try('SELECT sku, coalesce(public.plus(n), 0) AS n, max(qty) AS qty FROM results GROUP BY sku', key => 'sku DESC',
	finalize => 'SELECT qty AS most, n, sku, qty::numeric / n > 5 AS many FROM results');
SELECT docstore.wait_for_view('tried');
SELECT * FROM tried ORDER BY sku DESC;
SELECT definition FROM docstore.views;

-- A function that goes pauses the view.
DROP AGGREGATE plus(bigint);
INSERT INTO sales VALUES ('more', '{"sku": "k1", "qty": 1000}');
SELECT docstore.wait_for_view('tried');
SELECT state, reason FROM docstore.view_status;
CREATE AGGREGATE plus(bigint) (sfunc = int8pl, stype = bigint);
DO $$ BEGIN
	FOR i IN 1..1000 LOOP
		EXIT WHEN (SELECT state FROM docstore.view_status) = 'ready';
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT docstore.wait_for_view('tried');
SELECT * FROM tried WHERE sku = 'k1';
SELECT docstore.drop_view('tried');
DROP FUNCTION try;
DROP AGGREGATE plus(bigint);
DROP AGGREGATE how_many(bigint);
SELECT docstore.drop_collection('sales');
