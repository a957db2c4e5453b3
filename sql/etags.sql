-- Conditions on the etag: files and blocks that hold nothing of that time are left out, and the planner knows how much that is.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
CREATE FUNCTION estimate(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan->0->'Plan'->>'Plan Rows';
END $$;
-- Blocks of table files that a query's scan reads.
CREATE FUNCTION blocks(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
	total bigint;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, FORMAT json) ' || query INTO plan;
	WITH RECURSIVE nodes (node) AS (SELECT plan->0->'Plan' UNION ALL SELECT json_array_elements(node->'Plans') FROM nodes)
	SELECT sum((node->>'Block Hits')::bigint + (node->>'Block Reads')::bigint) INTO total FROM nodes WHERE node->>'Node Type' = 'Foreign Scan';
	RETURN total;
END $$;

SELECT docstore.create_collection('logs');
CREATE FOREIGN TABLE log_facts (id text COLLATE "C", etag bigint, n int) SERVER docstore OPTIONS (collection 'logs');
INSERT INTO logs SELECT 'a' || lpad(g::text, 5, '0'), jsonb_build_object('n', g, 'text', md5(g::text)) FROM generate_series(1, 20000) g;
SELECT docstore.compact('logs');
SELECT max(etag) AS old FROM logs \gset
INSERT INTO logs SELECT 'b' || lpad(g::text, 2, '0'), jsonb_build_object('n', g) FROM generate_series(1, 10) g;
UPDATE logs SET doc = '{"n": 0}' WHERE id = 'a00500';
DELETE FROM logs WHERE id = 'a00600';
SELECT min(etag) AS first, max(etag) AS last FROM logs WHERE etag > :old \gset
SELECT etag AS updated FROM logs WHERE id = 'a00500' \gset

-- What is newer; EXPLAIN says what bounds it.
PREPARE newer(bigint) AS SELECT id FROM logs WHERE etag > $1 ORDER BY id;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE newer(1);
EXECUTE newer(:old);
EXECUTE newer(:last);
EXECUTE newer(NULL);
EXECUTE newer(9223372036854775807);
SELECT count(*) FROM (SELECT FROM logs WHERE etag > -9223372036854775808) s;
SELECT count(*) FROM (SELECT FROM logs WHERE etag > :old) s;
SELECT count(*) FROM (SELECT FROM logs WHERE :old < etag) s;
SELECT count(*) FROM (SELECT FROM logs WHERE etag >= :first) s;
SELECT count(*) FROM (SELECT FROM logs WHERE :first <= etag) s;
SELECT count(*) FROM (SELECT FROM logs WHERE etag BETWEEN :first AND :last) s;
SELECT count(*) FROM (SELECT FROM logs WHERE etag <= :old) s;
SELECT id FROM logs WHERE etag > :old ORDER BY id DESC LIMIT 2;
-- Certain ones.
PREPARE one(bigint) AS SELECT id, doc FROM logs WHERE etag = $1;
EXPLAIN (COSTS OFF) EXECUTE one(1);
EXECUTE one(:updated);
EXECUTE one(0);
PREPARE several(bigint[]) AS SELECT id FROM logs WHERE etag = ANY ($1) ORDER BY id;
EXPLAIN (COSTS OFF) EXECUTE several('{}');
EXECUTE several(ARRAY[:first, NULL, :updated]);
EXECUTE several('{}');
EXECUTE several('{NULL}');
SELECT id FROM logs WHERE etag IN (:updated, :first, 5000000000) ORDER BY id;
RESET plan_cache_mode;
-- Integers of other sizes, and another side that is computed.
EXPLAIN (COSTS OFF) SELECT id FROM logs WHERE etag > 5 AND etag >= 7::smallint AND etag < 9;
EXPLAIN (COSTS OFF) SELECT id FROM logs WHERE etag > (SELECT 5) ORDER BY id;
SELECT id FROM logs WHERE etag > (SELECT :old) ORDER BY id LIMIT 2;
EXPLAIN (COSTS OFF) SELECT id FROM logs WHERE etag > 5.5;
SELECT count(*) FROM logs WHERE etag > :old + 0.5;
EXPLAIN (COSTS OFF) SELECT id FROM logs WHERE 9 >= etag AND etag IN (5, 7);
SELECT id FROM logs WHERE etag = ANY (ARRAY[:first, :updated]::int[]) ORDER BY id;
SELECT id FROM logs WHERE etag = ANY ('{3}'::smallint[]) AND etag < 0;
-- Row comparisons that begin with it.
EXPLAIN (COSTS OFF) SELECT id FROM logs WHERE (etag, id) > (8, 'b') AND ROW(9000000000, 'b') >= ROW(etag, id);
SELECT id FROM logs WHERE (etag, id) > (:first, 'b05') ORDER BY id LIMIT 3;
SELECT id FROM logs WHERE (etag, id) >= (:first, 'b01') AND (etag, id) <= (:first, 'b01');
SELECT count(*) FROM logs WHERE (etag, id) < (:first, 'b01');
-- Together with the id: the id finds the document, the etag is tested.
EXPLAIN (COSTS OFF) UPDATE logs SET doc = '{"n": 1}' WHERE id = 'a00500' AND etag = 1;
UPDATE logs SET doc = '{"n": 1}' WHERE id = 'a00500' AND etag = 1;
EXPLAIN (COSTS OFF) SELECT id FROM logs WHERE id < 'b' AND etag > 5;
SELECT id FROM logs WHERE id < 'b' AND etag > :old;
-- Changes, too.
EXPLAIN (COSTS OFF) DELETE FROM logs WHERE etag > 5;
BEGIN;
DELETE FROM logs WHERE etag > :old RETURNING id;
SELECT count(*) FROM logs WHERE etag > :old;
ROLLBACK;
BEGIN;
UPDATE log_facts SET n = -1 WHERE etag >= :first AND id LIKE 'a%' RETURNING id, n;
SELECT count(*) FROM logs WHERE etag > :last;
ROLLBACK;
-- Joined by the etag: it is unique.
EXPLAIN (COSTS OFF, VERBOSE) SELECT a.id FROM logs a LEFT JOIN log_facts b ON a.etag = b.etag;
SELECT b.id FROM logs a JOIN log_facts b ON a.etag = b.etag WHERE a.etag > :old ORDER BY b.id DESC LIMIT 1;

-- What is read: in memory, nothing of the files; once flushed, the new file; and all when what is old is wanted.
-- (Once more, if background work merged new and old meanwhile: after a collection was dropped, it does.)
DO $$
DECLARE
	old bigint;
	in_memory bigint;
	flushed bigint;
	backwards bigint;
BEGIN
	FOR i IN 1..100 LOOP
		PERFORM docstore.compact('logs');
		SELECT max(etag) INTO old FROM logs;
		UPDATE logs SET doc = doc || '{"again": true}' WHERE id LIKE 'b%';
		COMMIT;
		in_memory := blocks('SELECT id FROM logs WHERE etag > ' || old);
		PERFORM docstore.flush();
		flushed := blocks('SELECT id FROM logs WHERE etag > ' || old);
		backwards := blocks('SELECT id FROM logs WHERE etag > ' || old || ' ORDER BY id DESC');
		EXIT WHEN in_memory = 0 AND flushed BETWEEN 1 AND 3 AND backwards BETWEEN 1 AND 3;
		IF i = 100 THEN
			RAISE 'blocks read in memory: %, flushed: %, backwards: %', in_memory, flushed, backwards;
		END IF;
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
SELECT blocks('SELECT id FROM logs WHERE etag > 0') > 50 AS all;
SELECT count(*) FROM logs WHERE etag > :old;
-- Merged into one another the files are newer; what is found is the same.
SELECT docstore.compact('logs');
SELECT id FROM logs WHERE etag > :old ORDER BY id;

-- Upper bounds, too, where nothing older could come to light; where much was written in order, few blocks are read.
CREATE TEMP TABLE times AS SELECT id, etag FROM logs;
DO $$
DECLARE
	early bigint = etag FROM times WHERE id = 'a00100';
	later bigint = etag FROM times WHERE id = 'a07000';
	one bigint;
	hundred bigint;
	first bigint;
BEGIN
	FOR i IN 1..100 LOOP
		PERFORM docstore.compact('logs');
		one := blocks('SELECT id FROM logs WHERE etag = ' || later);
		hundred := blocks(format('SELECT id FROM logs WHERE etag BETWEEN %s AND %s', later, later + 100));
		first := blocks(format('SELECT id FROM logs WHERE etag <= %s ORDER BY id DESC', early));
		EXIT WHEN one BETWEEN 1 AND 2 AND hundred BETWEEN 1 AND 4 AND first BETWEEN 1 AND 4;
		IF i = 100 THEN
			RAISE 'blocks read for one etag: %, for a hundred: %, for the first: %', one, hundred, first;
		END IF;
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
SELECT blocks('SELECT id FROM logs WHERE etag <= 0') AS none, blocks('SELECT id FROM logs WHERE etag > 10 AND etag < 5') AS none;
SELECT count(*) FROM times t JOIN logs l ON l.id = t.id AND l.etag = t.etag;
SELECT string_agg(l.id, ' ' ORDER BY l.id) FROM times t, logs l WHERE t.id = 'a07000' AND l.etag BETWEEN t.etag - 1 AND t.etag + 1;
-- What is newer hides what is older, whether it is wanted or not, in memory, in files and merged; what is rolled back hides nothing.
SELECT etag AS before FROM logs WHERE id = 'a07000' \gset
BEGIN;
SAVEPOINT before;
DELETE FROM logs WHERE id = 'a07002';
SELECT id FROM logs WHERE etag BETWEEN :before AND :before + 2;
ROLLBACK TO before;
SELECT id FROM logs WHERE etag BETWEEN :before AND :before + 2;
COMMIT;
UPDATE logs SET doc = '{"n": 7}' WHERE id = 'a07000';
DELETE FROM logs WHERE id = 'a07001';
SELECT id FROM logs WHERE etag BETWEEN :before AND :before + 2;
SELECT docstore.flush();
SELECT id FROM logs WHERE etag BETWEEN :before AND :before + 2;
SELECT id FROM logs WHERE etag BETWEEN :before AND :before + 2 ORDER BY id DESC;
SELECT docstore.compact('logs');
SELECT id FROM logs WHERE etag BETWEEN :before AND :before + 2;
-- In a nested loop, for the etags of the other side.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
EXPLAIN (COSTS OFF) SELECT l.id FROM times t JOIN logs l ON l.etag = t.etag WHERE t.id IN ('a00001', 'a07000', 'a08000');
SELECT l.id FROM times t JOIN logs l ON l.etag = t.etag WHERE t.id IN ('a00001', 'a07000', 'a08000');
SELECT blocks('SELECT l.id FROM times t JOIN logs l ON l.etag = t.etag WHERE t.id IN (''a00001'', ''a07000'', ''a08000'')') < 50 AS few;
EXPLAIN (COSTS OFF) SELECT (SELECT count(*) FROM logs l WHERE l.etag < t.etag) FROM times t WHERE t.id = 'a00003';
SELECT (SELECT count(*) FROM logs l WHERE l.etag < t.etag) FROM times t WHERE t.id = 'a00003';
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;

-- The planner: from the files before ANALYZE; a third at most then, the histogram's share later.
SELECT min(etag) AS low, max(etag) AS last FROM logs \gset
INSERT INTO logs SELECT 'c' || g, jsonb_build_object('n', g) FROM generate_series(1, 5) g;
SELECT estimate('SELECT FROM logs WHERE etag > 0') BETWEEN 5000 AND 8000 AS a_third;
SELECT estimate('SELECT FROM logs WHERE etag > ' || :last) <= 5 AS few;
SELECT estimate('SELECT FROM logs WHERE etag = ' || :last) AS one, estimate(format('SELECT FROM logs WHERE etag IN (%s, %s, %s)', :low, :old - 1, :old)) AS three;
ANALYZE logs;
SELECT estimate('SELECT FROM logs WHERE etag > 0') BETWEEN 18000 AND 21000 AS all;
SELECT estimate(format('SELECT FROM logs WHERE etag > %s', (:low + :old) / 2)) BETWEEN 8000 AND 12000 AS half;

-- In parallel.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT count(*), sum(n) FROM log_facts WHERE etag > 7;
SELECT count(*), sum(n) FROM log_facts WHERE etag > 0;
SELECT count(*), sum(n) FROM log_facts WHERE etag > :old;

DROP FUNCTION estimate, blocks;
SET client_min_messages = warning;
SELECT docstore.drop_collection('logs');
