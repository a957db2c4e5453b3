-- Seeks in views: conditions on the key's columns are positions, orders need no sort, LIMIT stops early.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SET jit = off;
SELECT setseed(0.7);
SELECT docstore.create_collection('points');
INSERT INTO points SELECT 'p/' || i, jsonb_strip_nulls(jsonb_build_object(
	'a', (ARRAY['', 'x', 'xy', 'y', 'ä', NULL])[1 + (random() * 5)::int],
	'b', nullif((random() * 6)::int - 3, 3),
	'c', timestamptz '2020-01-01 00:00+00' + (random() * 3)::int * interval '1 day',
	'd', (random() * 100)::int::numeric / 10, 'e', random() < 0.5, 'f', CASE WHEN random() < 0.8 THEN random() END))
FROM generate_series(1, 2000) AS i;
SELECT docstore.create_view('sorted', collections => '{points}', key => 'a, b DESC NULLS LAST, c', map => $$
	SELECT doc->>'a' AS a, (doc->>'b')::int AS b, (doc->>'c')::timestamptz AS c, (doc->>'d')::numeric AS d FROM docs $$);
SELECT docstore.create_view('flags', collections => '{points}', key => 'e, f NULLS FIRST', map => $$
	SELECT (doc->>'e')::boolean AS e, (doc->>'f')::float8 AS f, (doc->>'b')::bigint AS b FROM docs $$);
SELECT docstore.create_view('by_day', collections => '{points}', key => 'day DESC, d', map => $$
	SELECT (doc->>'c')::date AS day, (doc->>'d')::numeric AS d, (doc->>'a')::varchar(10) AS a, md5(id)::uuid AS u FROM docs $$);
SELECT docstore.wait_for_view('sorted'), docstore.wait_for_view('flags'), docstore.wait_for_view('by_day');
ANALYZE sorted, flags, by_day;

-- A prefix of the key, a range on the column behind it.
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a = 'x' AND b = 1 AND c > '2020-01-02 00:00+00' AND c <= '2020-01-03 00:00+00';
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a = 'x' AND b < 2 AND c = '2020-01-02 00:00+00';
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE b = 1;
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE 'x' < a AND d > 5;
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a IN ('x', 'y') AND b = 1 AND c >= '2020-01-02 00:00+00';
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a IS NULL AND b IS NOT NULL;
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a = 'x' AND b = 1 AND c = '2020-01-02 00:00+00' AND id > 'p/5';
EXPLAIN (COSTS OFF) SELECT * FROM flags WHERE e AND f > 0.5;
EXPLAIN (COSTS OFF) SELECT * FROM flags WHERE NOT e AND f IS NULL;
EXPLAIN (COSTS OFF) SELECT * FROM flags WHERE e = true AND f > 1::float4;
EXPLAIN (COSTS OFF) SELECT * FROM by_day WHERE day = '2020-01-02' AND d BETWEEN 1 AND 2;
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a LIKE 'x%';
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a ^@ 'x';
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a = 'x' AND (b, c) < (2, '2020-01-02 00:00+00') ORDER BY b DESC NULLS LAST, c LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM by_day WHERE (day, d) >= ('2020-01-02', 5);
-- (a timestamp is no date, and what another collation calls less is no range)
EXPLAIN (COSTS OFF) SELECT * FROM by_day WHERE day >= timestamp '2020-01-02';
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a < 'x' COLLATE "POSIX";
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a = 'x' COLLATE "en-x-icu";

-- Orders: in both directions without a sort, behind an equality, too.
EXPLAIN (COSTS OFF) SELECT * FROM sorted ORDER BY a, b DESC NULLS LAST, c, id;
EXPLAIN (COSTS OFF) SELECT * FROM sorted ORDER BY a DESC, b NULLS FIRST, c DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a = 'x' ORDER BY b DESC NULLS LAST, c LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM sorted WHERE a = 'x' AND b = 1 AND c = '2020-01-02 00:00+00' ORDER BY id DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM sorted ORDER BY a, b;
EXPLAIN (COSTS OFF) SELECT a, count(*) FROM sorted GROUP BY a ORDER BY a;
EXPLAIN (COSTS OFF) SELECT max(day) FROM by_day;
SELECT max(day), min(day) FROM by_day;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM sorted WHERE a = 'x' ORDER BY b DESC NULLS LAST LIMIT 3;

-- Lookups by another table's columns.
CREATE TABLE wanted (a text COLLATE "C", n int);
INSERT INTO wanted VALUES ('x', 1), ('y', 2), (NULL, 3);
ANALYZE wanted;
EXPLAIN (COSTS OFF) SELECT w.a, s.id FROM wanted w JOIN sorted s ON s.a = w.a AND s.b = w.n;
SELECT w.a, count(s.id) FROM wanted w LEFT JOIN sorted s ON s.a = w.a AND s.b = w.n GROUP BY w.a ORDER BY w.a;
SELECT w.a, (SELECT count(*) FROM sorted s WHERE s.a = w.a AND s.b < w.n) = (SELECT count(*) FROM points p WHERE p.doc->>'a' = w.a AND (p.doc->>'b')::int < w.n) AS same
FROM wanted w ORDER BY w.n;

-- Any condition and order gives what a table with the same rows gives.
CREATE TABLE heap_sorted AS SELECT * FROM sorted;
CREATE TABLE heap_flags AS SELECT * FROM flags;
CREATE TABLE heap_by_day AS SELECT * FROM by_day;
CREATE FUNCTION compare(view text, orders text[], conditions text[], rounds int) RETURNS TABLE (compared int, different int, examples text[]) LANGUAGE plpgsql AS $$
DECLARE
	tail text;
	a text;
	b text;
BEGIN
	compared := 0;
	different := 0;
	FOR i IN 1..rounds LOOP
		SELECT coalesce('WHERE ' || string_agg(c, ' AND '), '') INTO tail FROM (SELECT c FROM unnest(conditions) c ORDER BY random() LIMIT (random() * 4)::int) AS s;
		tail := tail || ' ORDER BY ' || orders[1 + floor(random() * cardinality(orders))::int] || CASE WHEN random() < 0.5 THEN ' LIMIT ' || (random() * 20)::int ELSE '' END;
		EXECUTE format('SELECT md5(string_agg(t::text, ''|'')) || count(*) FROM (SELECT * FROM %I %s) AS t', view, tail) INTO a;
		EXECUTE format('SELECT md5(string_agg(t::text, ''|'')) || count(*) FROM (SELECT * FROM %I %s) AS t', 'heap_' || view, tail) INTO b;
		compared := compared + 1;
		IF a IS DISTINCT FROM b THEN
			different := different + 1;
			examples := examples || tail;
		END IF;
	END LOOP;
	RETURN NEXT;
END $$;
SELECT * FROM compare('sorted',
	'{"a, b DESC NULLS LAST, c, id", "a DESC, b NULLS FIRST, c DESC, id DESC", "b, a, c, id", "id", "c, id DESC"}',
	ARRAY['a = ''x''', 'a = ''''', 'a IN (''x'', ''y'', ''nope'', NULL, ''x'')', 'a > ''x''', 'a >= ''x''', 'a < ''y''', 'a <= ''ä''', 'a IS NULL', 'a IS NOT NULL', 'a = ANY (''{}'')', '''xy'' = a', 'a LIKE ''x%''', 'a LIKE ''%y''', 'a LIKE ''xy''', 'a ^@ ''x''', 'a LIKE ''''', '(a, b) > (''x'', 0)', '(a, b) <= (''xy'', 1)', '(a, b) < (''y'', NULL)', '(b, c) >= (0, ''2020-01-02 00:00+00'')',
		'b = 1', 'b = -3', 'b IN (-1, 0, 2)', 'b > 0', 'b >= 0', 'b < 2::bigint', 'b <= -1::smallint', 'b IS NULL', 'b IS NOT NULL', 'b BETWEEN -1 AND 1',
		'c = ''2020-01-02 00:00+00''', 'c > ''2020-01-01 00:00+00''', 'c < ''2020-01-03 00:00+00''', 'c >= ''2020-01-03 01:00+01''', 'd > 5', 'id > ''p/5''', 'id = ''p/77''', 'id IN (''p/1'', ''p/2'')'], 250);
SELECT * FROM compare('flags', '{"e, f NULLS FIRST, id", "e DESC, f DESC NULLS LAST, id DESC", "f, id"}',
	ARRAY['e', 'NOT e', 'e IS NULL', 'e IS NOT NULL', 'e = false', 'e IN (true, false)', 'e >= true', 'f > 0.5', 'f <= 0.25', 'f IS NULL', 'f IS NOT NULL', 'f < 0.5::float4', 'f = ''NaN''', 'b > 0', 'id < ''p/3'''], 250);
SELECT * FROM compare('by_day', '{"day DESC, d, id", "day, d DESC, id DESC", "d, id", "u"}',
	ARRAY['day = ''2020-01-02''', 'day > ''2020-01-01''', 'day <= ''2020-01-03''', 'day < ''infinity''', 'day IN (''2020-01-01'', ''2020-01-04'')', 'd = 5', '(day, d) > (''2020-01-02'', 5)', '(day, d) <= (''2020-01-03'', 2.5)', 'd > 2.5', 'd < 7.50', 'd BETWEEN 1 AND 3', 'd IN (1.0, 2.00, 3.1)', 'a = ''x''', 'day >= timestamp ''2020-01-02'''], 250);

-- The same with parameters unknown to the planner.
SET plan_cache_mode = force_generic_plan;
PREPARE q(text, int, int) AS SELECT count(*) FROM sorted WHERE a = $1 AND b > $2 AND b <= $3;
EXPLAIN (COSTS OFF) EXECUTE q('x', -1, 2);
EXECUTE q('x', -1, 2);
EXECUTE q('x', 2, -1);
EXECUTE q('x', NULL, 2);
SELECT count(*) FROM heap_sorted WHERE a = 'x' AND b > -1 AND b <= 2;
RESET plan_cache_mode;

-- A foreign table that leaves key columns out, or has another collation, knows less of the order.
CREATE FOREIGN TABLE no_a (b int, c timestamptz, id text COLLATE "C") SERVER docstore_views OPTIONS (view 'sorted');
EXPLAIN (COSTS OFF) SELECT * FROM no_a WHERE b = 1 ORDER BY b DESC;
SELECT count(*) = (SELECT count(*) FROM heap_sorted WHERE b = 1) AS same FROM no_a WHERE b = 1;
CREATE FOREIGN TABLE other_a (a text COLLATE "en-x-icu", id text) SERVER docstore_views OPTIONS (view 'sorted');
EXPLAIN (COSTS OFF) SELECT * FROM other_a WHERE a = 'x' ORDER BY a;
EXPLAIN (COSTS OFF) SELECT * FROM other_a WHERE a > 'x' ORDER BY a;

-- Cursors go on where they were, and see what they saw.
BEGIN;
DECLARE c CURSOR FOR SELECT a, b FROM sorted WHERE a = 'x' ORDER BY b DESC NULLS LAST;
FETCH 2 FROM c;
FETCH 2 FROM c;
COMMIT;

DROP TABLE wanted, heap_sorted, heap_flags, heap_by_day;
DROP FUNCTION compare;
DROP FOREIGN TABLE no_a, other_a;
SET client_min_messages = warning;
SELECT docstore.drop_collection('points', cascade => true);
