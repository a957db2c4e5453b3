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

-- Another finalize, or only another comment or a key that is the same, needs no document and no block: each group's result is made again.
SET docstore.view_block_rows = 4;
SELECT docstore.create_view('sums', 'SELECT doc->>''kind'' AS kind, 1::bigint AS n, (doc->>''n'')::numeric AS s FROM docs', '{bees}',
	reduce => 'SELECT kind, sum(n)::bigint AS n, sum(s) AS s FROM results GROUP BY kind', finalize => 'SELECT kind, n, s / n AS mean FROM results');
RESET docstore.view_block_rows;
INSERT INTO bees SELECT 'more' || g, jsonb_build_object('n', g, 'kind', 'k' || g % 3) FROM generate_series(1, 300) AS g;
SELECT docstore.wait_for_view('sums');
PREPARE sums AS SELECT kind FROM sums ORDER BY kind DESC LIMIT 2;
EXECUTE sums;
CREATE TEMP TABLE was AS SELECT storage_id, p.reductions, p.documents FROM docstore.view_progress p JOIN docstore.view_index USING (storage_id) WHERE view = 'sums';
SELECT docstore.replace_view('sums', 'SELECT doc->>''kind'' AS kind, 1::bigint AS n, (doc->>''n'')::numeric AS s FROM docs', '{bees}',
	reduce => 'SELECT kind, sum(n)::bigint AS n, sum(s) AS s FROM results GROUP BY kind', finalize => 'SELECT ''kind '' || kind AS kind, n FROM results');
SELECT docstore.replace_view('sums', 'SELECT doc->>''kind'' AS kind, 1::bigint AS n, (doc->>''n'')::numeric AS s FROM docs', '{bees}', 'kind ASC',
	reduce => 'SELECT kind, sum(n)::bigint AS n, sum(s) AS s FROM results GROUP BY kind /* all */', finalize => 'SELECT round(s / n, 1) AS mean, n::int * 10 AS n, kind FROM results');
SELECT state, replacement, p.storage_id = was.storage_id AS same, p.documents - was.documents AS scanned, p.reductions - was.reductions AS reductions, p.groups
	FROM docstore.view_status, was, docstore.view_progress p JOIN docstore.view_index i USING (storage_id) WHERE i.view = 'sums' AND name = 'sums';
SELECT * FROM sums ORDER BY kind;
EXECUTE sums;
INSERT INTO bees VALUES ('late', '{"n": 1000, "kind": "k1"}');
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums WHERE kind = 'k1';
CREATE VIEW means AS SELECT mean FROM sums;
SELECT docstore.replace_view('sums', 'SELECT doc->>''kind'' AS kind, 1::bigint AS n, (doc->>''n'')::numeric AS s FROM docs', '{bees}',
	reduce => 'SELECT kind, sum(n)::bigint AS n, sum(s) AS s FROM results GROUP BY kind');
DROP VIEW means;
BEGIN;
SELECT docstore.replace_view('sums', 'SELECT doc->>''kind'' AS kind, 1::bigint AS n, (doc->>''n'')::numeric AS s FROM docs', '{bees}',
	reduce => 'SELECT kind, sum(n)::bigint AS n, sum(s) AS s FROM results GROUP BY kind');
SELECT * FROM sums ORDER BY kind;
SELECT docstore.replace_view('sums', 'SELECT doc->>''kind'' AS kind, 1::bigint AS n, (doc->>''n'')::numeric AS s FROM docs', '{bees}',
	reduce => 'SELECT kind, sum(n)::bigint AS n, sum(s) AS s FROM results GROUP BY kind', finalize => 'SELECT kind, 1 / (n - 103)::int AS inverse FROM results');
SELECT * FROM sums WHERE kind = 'k1';
SELECT * FROM sums WHERE kind = 'k0';
ROLLBACK;
SELECT * FROM sums ORDER BY kind;
-- Another reduce is another thing.
SELECT docstore.replace_view('sums', 'SELECT doc->>''kind'' AS kind, 1::bigint AS n, (doc->>''n'')::numeric AS s FROM docs', '{bees}',
	reduce => 'SELECT kind, sum(n)::bigint AS n, max(s) AS s FROM results GROUP BY kind');
SELECT docstore.wait_for_view('sums');
SELECT * FROM sums ORDER BY kind;
SELECT i.storage_id = was.storage_id AS same FROM docstore.view_index i, was WHERE view = 'sums';
DROP TABLE was;
DEALLOCATE sums;
SELECT docstore.drop_view('sums');
DELETE FROM bees WHERE id ~ '^(more|late)';

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
