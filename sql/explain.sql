-- EXPLAIN (ANALYZE, BUFFERS): what was read of table files.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SET jit = off;
SET enable_hashjoin = off;
SELECT docstore.create_collection('things');
CREATE FOREIGN TABLE thing_facts (id text COLLATE "C", n int, word text) SERVER docstore OPTIONS (collection 'things');
INSERT INTO things (id, doc) SELECT 'thing/' || lpad(g::text, 6, '0'), jsonb_build_object('n', g, 'word', md5(g::text)) FROM generate_series(1, 20000) g;

CREATE FUNCTION reads(query text, OUT hits bigint, OUT reads bigint, OUT ruled_out bigint) RETURNS record LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, FORMAT json) ' || query INTO plan;
	WITH RECURSIVE nodes (node) AS (SELECT plan->0->'Plan' UNION ALL SELECT json_array_elements(node->'Plans') FROM nodes)
	SELECT node->>'Block Hits', node->>'Block Reads', node->>'Ruled Out by Filters' INTO hits, reads, ruled_out
	FROM nodes WHERE node->>'Node Type' = 'Foreign Scan';
END $$;

-- With the document written just before; once more, if background work took it out of memory meanwhile.
CREATE FUNCTION shown_fresh(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	lines text[];
BEGIN
	FOR i IN 1..50 LOOP
		lines := '{}';
		UPDATE things SET doc = '{"n": 0}' WHERE id = 'thing/0';
		FOR line IN EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
			EXIT WHEN line LIKE 'Planning:%';
			lines := lines || line;
		END LOOP;
		EXIT WHEN array_to_string(lines, ' ') LIKE '%hit=0 read=0%';
	END LOOP;
	RETURN QUERY SELECT unnest(lines);
END $$;
SELECT docstore.compact('things');

-- What is in memory takes no block.
INSERT INTO things VALUES ('thing/0', '{"n": 0}');
SELECT shown_fresh AS shown FROM shown_fresh($$SELECT n FROM thing_facts WHERE id = 'thing/0'$$);
-- One block for a document, read once; none where filters say that there is no such document (which they do for 99 of 100).
SELECT hits + reads AS blocks FROM reads($$SELECT n FROM thing_facts WHERE id = 'thing/000007'$$);
SELECT max(hits) AS hits, min(reads) AS reads FROM generate_series(1, 3) i, LATERAL reads($$SELECT n FROM thing_facts WHERE id = 'thing/000007' AND n > 0 * $$ || i) r;
SELECT hits + reads <= 10 AS few, ruled_out >= 90 AS most
FROM reads($$SELECT n FROM thing_facts WHERE id IN (SELECT 'thing/' || lpad(g::text, 6, '0') || 'x' FROM generate_series(1, 100) g)$$);
-- A range takes its part of all.
SELECT hits + reads AS whole FROM reads('SELECT sum(n) FROM thing_facts') \gset
SELECT :whole > 100 AS many;
SELECT (hits + reads) BETWEEN 0.07 * :whole AND 0.15 * :whole AS a_tenth FROM reads($$SELECT sum(n) FROM thing_facts WHERE id < 'thing/002000'$$);
SELECT hits + reads < 5 AS few FROM reads('SELECT n FROM thing_facts ORDER BY id DESC LIMIT 3');
-- All processes of a parallel scan count, and each time that a scan starts over.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
SELECT hits + reads BETWEEN 0.9 * :whole AND 2 * :whole AS same FROM reads('SELECT sum(n) FROM thing_facts');
SET enable_material = off;
SELECT hits + reads BETWEEN 2.7 * :whole AND 4 * :whole AS three_times
FROM reads('SELECT k, (SELECT sum(n) FROM thing_facts WHERE n > k) FROM generate_series(1, 3) k');

SET client_min_messages = warning;
DROP FUNCTION reads, shown_fresh;
SELECT docstore.drop_collection('things');
