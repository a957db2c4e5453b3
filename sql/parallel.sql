-- Parallel scans: workers share a collection's range of ids, and see what the leader sees.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;

SELECT docstore.create_collection('things');
CREATE FOREIGN TABLE thing_facts (id text COLLATE "C", n int, kind text, word text) SERVER docstore OPTIONS (collection 'things');
INSERT INTO things (id, doc) SELECT 'thing/' || lpad(g::text, 6, '0'), jsonb_build_object('n', g, 'kind', 'k' || g % 5, 'word', md5(g::text))
FROM generate_series(1, 20000) g;
SELECT docstore.compact('things');
-- The same rows in a table, to compare with.
CREATE TABLE twin AS SELECT * FROM thing_facts;
ANALYZE twin;
ANALYZE thing_facts;

EXPLAIN (COSTS OFF) SELECT kind, count(*), sum(n) FROM thing_facts GROUP BY kind;
SELECT kind, count(*), sum(n) FROM thing_facts GROUP BY kind ORDER BY kind;
SELECT count(*) FROM (SELECT * FROM thing_facts EXCEPT ALL SELECT * FROM twin) d;

-- More than one process reads: each gets parts.
CREATE FUNCTION plan(query text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	result json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, FORMAT json) ' || query INTO result;
	RETURN result->0->'Plan';
END $$;
SET parallel_leader_participation = off;
WITH RECURSIVE nodes (node) AS (
	SELECT plan('SELECT sum(n) FROM thing_facts') UNION ALL SELECT json_array_elements(node->'Plans') FROM nodes)
SELECT node->>'Parallel Aware' AS parallel, (node->>'Actual Loops')::int AS processes
FROM nodes WHERE node->>'Node Type' = 'Foreign Scan';
RESET parallel_leader_participation;

-- Ranges are shared, too; lookups of single documents are not.
EXPLAIN (COSTS OFF) SELECT count(*), min(n), max(n) FROM thing_facts WHERE id > 'thing/005' AND id < 'thing/015';
SELECT count(*), min(n), max(n) FROM thing_facts WHERE id > 'thing/005' AND id < 'thing/015';
SELECT count(*) FROM thing_facts WHERE id LIKE 'thing/01%' AND kind = 'k1';
SELECT count(*) FROM thing_facts WHERE id > 'z' AND id < 'a';
SELECT count(*) FROM thing_facts WHERE id > NULL;
EXPLAIN (COSTS OFF) SELECT count(*) FROM thing_facts WHERE id = 'thing/000007';

-- What one process returns is in the order of ids: merging is enough.
EXPLAIN (COSTS OFF) SELECT id, word FROM thing_facts WHERE word LIKE '%aff%' ORDER BY id;
SELECT array_agg(n) = (SELECT array_agg(n ORDER BY n) FROM twin WHERE word LIKE '%aff%') AS same
FROM (SELECT n FROM thing_facts WHERE word LIKE '%aff%' ORDER BY id) s;
EXPLAIN (COSTS OFF) SELECT id, word FROM thing_facts WHERE word LIKE '%aff%' ORDER BY id DESC;
SELECT array_agg(n) = (SELECT array_agg(n ORDER BY n DESC) FROM twin WHERE word LIKE '%aff%') AS same
FROM (SELECT n FROM thing_facts WHERE word LIKE '%aff%' ORDER BY id DESC) s;

-- Joins: workers look documents up for their share of a table, or share the documents.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS OFF) SELECT count(*), sum(f.n) FROM twin t JOIN thing_facts f ON f.id = t.id WHERE t.kind = 'k2';
SELECT count(*), sum(f.n) FROM twin t JOIN thing_facts f ON f.id = t.id WHERE t.kind = 'k2';
RESET enable_hashjoin;
RESET enable_mergejoin;
SELECT count(*), sum(f.n - t.n) FROM twin t JOIN thing_facts f USING (word);
-- Scanned again and again.
SELECT k, (SELECT sum(n) FROM thing_facts WHERE n > k) FROM (VALUES (0), (19990), (20000)) v (k) ORDER BY k;
SET enable_material = off;
SELECT k, s FROM (VALUES ('thing/0'), ('thing/019990'), ('thing/02')) v (k), LATERAL (SELECT count(*) AS s FROM thing_facts WHERE id > k OFFSET 0) AS x ORDER BY k;
RESET enable_material;
-- Operands that are known only when the query runs.
PREPARE above(text) AS SELECT count(*) FROM thing_facts WHERE id > $1;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE above('thing/019990');
EXECUTE above('thing/019990');
EXECUTE above('thing/000000');
EXECUTE above(NULL);
RESET plan_cache_mode;
SELECT count(*) FROM thing_facts WHERE id > (SELECT max(id) FROM twin WHERE n = 19000);

-- Workers see what their transaction has written so far, and what its savepoints took back; in every isolation level.
BEGIN;
INSERT INTO thing_facts (id, n) SELECT 'new/' || g, g FROM generate_series(1, 100) g;
DELETE FROM things WHERE id < 'thing/000101' AND id LIKE 'thing%';
SAVEPOINT a;
UPDATE thing_facts SET n = n + 1000000 WHERE id LIKE 'thing/0001%' OR id LIKE 'new/%';
SELECT count(*), sum(n) FROM thing_facts;
ROLLBACK TO a;
SELECT count(*), sum(n) FROM thing_facts;
EXPLAIN (COSTS OFF) SELECT count(*), sum(n) FROM thing_facts;
-- A cursor stays with what was there when it was opened.
DECLARE early CURSOR FOR SELECT count(*), sum(n) FROM thing_facts;
DELETE FROM things WHERE id LIKE 'new/%';
FETCH early;
SELECT count(*), sum(n) FROM thing_facts;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO thing_facts (id, n) VALUES ('new/1', 1);
SELECT count(*), sum(n) FROM thing_facts;
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
DELETE FROM things WHERE id = 'thing/000001';
SELECT count(*), sum(n) FROM thing_facts;
ROLLBACK;
-- A collection that was made, or truncated, in the same transaction.
BEGIN;
SELECT docstore.create_collection('fresh');
INSERT INTO fresh SELECT id, doc FROM things;
SELECT count(*) FROM fresh;
TRUNCATE things;
SELECT count(*) FROM things;
ROLLBACK;
SELECT count(*), sum(n) FROM thing_facts;

-- An error in a worker is the query's.  (Its context may say that it was in one.)
INSERT INTO things VALUES ('thing/bad', '{"n": "many"}');
\set VERBOSITY terse
SELECT sum(n) FROM thing_facts;
\set VERBOSITY default
DELETE FROM things WHERE id = 'thing/bad';

-- Types whose input may do anything keep to the leader; locking and changing do, too.
CREATE DOMAIN small AS int CHECK (VALUE < 1000000);
CREATE FOREIGN TABLE small_facts (id text COLLATE "C", n small) SERVER docstore OPTIONS (collection 'things');
EXPLAIN (COSTS OFF) SELECT sum(n) FROM small_facts;
EXPLAIN (COSTS OFF) DELETE FROM things WHERE doc->>'kind' = 'k0';
EXPLAIN (COSTS OFF) SELECT id FROM things FOR UPDATE;
-- Whether the planner likes it or not.
SET force_parallel_mode = on;
SELECT sum(n) FROM thing_facts WHERE id = 'thing/000007';
SELECT count(*) FROM thing_facts WHERE id = ANY ('{thing/000007,thing/000008}');
RESET force_parallel_mode;

SET client_min_messages = warning;
DROP FUNCTION plan;
DROP TABLE twin;
SELECT docstore.drop_collection('things');
DROP DOMAIN small;
