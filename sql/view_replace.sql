-- Another definition is built beside the view and then takes its place.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT docstore.create_collection('bees');
SELECT docstore.create_collection('wasps');
INSERT INTO bees SELECT 'b' || g, jsonb_build_object('n', g, 'kind', 'k' || g % 3) FROM generate_series(1, 9) AS g;
INSERT INTO wasps VALUES ('w1', '{"n": 100, "kind": "w"}');
SELECT docstore.create_view('insects', 'SELECT doc->>''kind'' AS kind, (doc->>''n'')::int AS n FROM docs', '{bees}', 'kind');
SELECT docstore.wait_for_view('insects');
PREPARE three AS SELECT kind, n FROM insects WHERE kind = 'k1' ORDER BY kind, n LIMIT 3;
SET plan_cache_mode = force_generic_plan;
EXECUTE three;

-- Another key and one more collection: plans that were made before are made again.
SELECT docstore.replace_view('insects', 'SELECT doc->>''kind'' AS kind, (doc->>''n'')::int AS n FROM docs', '{wasps, bees}', 'kind, n DESC');
SELECT docstore.wait_for_view('insects');
EXECUTE three;
EXPLAIN (COSTS OFF) EXECUTE three;
SELECT kind, n, id FROM insects WHERE kind > 'k2';
SELECT name, state, rows, replacement FROM docstore.view_status;
SELECT kind, name, (SELECT string_agg(collection, ',' ORDER BY collection) FROM docstore.consumer_collection WHERE consumer = name) AS collections FROM docstore.consumer;

-- Other columns: the table follows.  What stays keeps its place.  Tables with columns of their own choice stay as they are.
CREATE FOREIGN TABLE kinds (kind text COLLATE "C", id text COLLATE "C") SERVER docstore_views OPTIONS (view 'insects');
UPDATE docstore.views SET definition = '{"collections": ["bees"], "key": "n", "map": "SELECT (doc->>''n'')::bigint * 10 AS n, doc->>''kind'' AS kind, length(id) AS len FROM docs"}' WHERE name = 'insects';
SELECT docstore.wait_for_view('insects');
SELECT * FROM insects WHERE n > 70 ORDER BY n;
SELECT kind, id FROM kinds ORDER BY id LIMIT 2;
DROP FOREIGN TABLE kinds;

-- A difference in comments and blanks needs no work.
CREATE TEMP TABLE storage AS SELECT storage_id FROM docstore.view_index;
SELECT docstore.replace_view('insects', '/* bees */ SELECT (doc->>''n'')::bigint * 10 AS n,
	doc->>''kind'' AS kind, length(id) AS len -- of the id
	FROM docs', '{bees}', 'n ASC NULLS LAST');
SELECT i.storage_id = s.storage_id AS same, replacing FROM docstore.view_index i, storage s;
DROP TABLE storage;

-- What is wrong is refused, and nothing changes.  A view that depends on a column holds the change up until it is gone.
SELECT docstore.replace_view('insects', 'SELECT now() AS n FROM docs', '{bees}');
SELECT docstore.replace_view('nothing', 'SELECT 1 AS n FROM docs', '{bees}');
SELECT docstore.replace_view('insects', 'SELECT 1 AS n FROM docs', '{birds}');
CREATE VIEW lengths AS SELECT len FROM insects;
SELECT docstore.replace_view('insects', 'SELECT (doc->>''n'')::bigint * 100 AS n, doc->>''kind'' AS kind FROM docs', '{bees}', 'n');
SELECT docstore.wait_for_view('insects');
SELECT name, state, replacement, reason FROM docstore.view_status;
SELECT max(n), max(len) FROM insects;
DROP VIEW lengths;
DO $$ BEGIN
	FOR i IN 1..2000 LOOP
		EXIT WHEN (SELECT replacement FROM docstore.view_status) IS NULL;
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT * FROM insects WHERE n >= 800;

-- A replacement of a replacement; not in a transaction that made it; dropped with its view.
BEGIN;
SELECT docstore.replace_view('insects', 'SELECT 1 AS one FROM docs', '{bees}');
SELECT docstore.replace_view('insects', 'SELECT 2 AS two, (doc->>''n'')::int / (doc->>''n'')::int AS by FROM docs', '{bees}');
SELECT docstore.wait_for_view('insects');
ROLLBACK;
BEGIN;
SELECT docstore.replace_view('insects', 'SELECT 1 AS one FROM docs', '{bees}');
SELECT docstore.replace_view('insects', 'SELECT 2 AS two, 10 / (doc->>''n'')::int AS by FROM docs', '{bees}');
COMMIT;
INSERT INTO bees VALUES ('zero', '{"n": 0}');
SELECT docstore.wait_for_view('insects');
SELECT * FROM insects WHERE by > 4 ORDER BY id;
SELECT view, replacing, id, message FROM docstore.view_errors;
BEGIN;
SELECT docstore.replace_view('insects', 'SELECT 1 AS one FROM docs', '{bees}');
SELECT docstore.drop_view('insects');
COMMIT;
SELECT count(*) FROM docstore.consumer;
SELECT count(*) FROM docstore.view_progress;
SELECT count(*) FROM docstore.view_error;
DEALLOCATE three;
SELECT docstore.drop_collection('bees');
SELECT docstore.drop_collection('wasps');
