-- Statistics: what the planner knows before ANALYZE, by ANALYZE, and after large changes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
CREATE FUNCTION estimate(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan->0->'Plan'->>'Plan Rows';
END $$;
-- Within a fifth, or so.
CREATE FUNCTION near(estimated bigint, counted bigint) RETURNS text LANGUAGE sql AS
$$ SELECT CASE WHEN estimated BETWEEN counted * 0.8 AND counted * 1.25 THEN 'near' ELSE format('%s for %s', estimated, counted) END $$;

SELECT docstore.create_collection('things');
CREATE FOREIGN TABLE thing_facts (id text COLLATE "C", n int, kind text) SERVER docstore OPTIONS (collection 'things');
INSERT INTO things (id, doc) SELECT 'thing/' || lpad(g::text, 6, '0'), jsonb_build_object('n', g, 'kind', 'k' || g % 10, 'text', md5(g::text) || md5((-g)::text))
FROM generate_series(1, 60000) g;

-- Before ANALYZE: from memory, then from files; ranges and prefixes, too.
SELECT near(estimate('SELECT * FROM things'), 60000);
SELECT docstore.compact('things');
SELECT near(estimate('SELECT * FROM things'), 60000);
SELECT near(estimate($$SELECT * FROM things WHERE id < 'thing/015000'$$), 15000);
SELECT near(estimate($$SELECT * FROM things WHERE id LIKE 'thing/02%'$$), 10000);
SELECT estimate($$SELECT * FROM things WHERE id = 'thing/000001'$$), estimate($$SELECT * FROM things WHERE id IN ('a', 'b', 'c')$$);
SELECT near(estimate($$SELECT * FROM things JOIN thing_facts USING (id)$$), 60000);

-- ANALYZE reads a part of it.
SET default_statistics_target = 10;
CREATE FUNCTION blocks() RETURNS bigint LANGUAGE sql AS $$ SELECT cache_hits + cache_misses FROM docstore.status $$;
SELECT blocks() AS before \gset
SELECT count(*) FROM things;
SELECT blocks() - :before AS whole \gset
SELECT blocks() AS before \gset
ANALYZE thing_facts;
SELECT blocks() - :before BETWEEN 100 AND :whole * 0.7 AS reads_a_part;
SELECT near(reltuples::bigint, 60000) FROM pg_class WHERE relname = 'thing_facts';
SELECT attname, null_frac, n_distinct BETWEEN 9 AND 10 AS ten, n_distinct < -0.9 AS unique FROM pg_stats WHERE tablename = 'thing_facts' ORDER BY attname;
SELECT near(estimate($$SELECT * FROM thing_facts WHERE kind = 'k3'$$), 6000);
-- (A hundred parts of neighbours: a share that lies together is right within a fifth in 19 runs of 20, no more.)
SELECT estimate($$SELECT * FROM thing_facts WHERE n < 30000$$) BETWEEN 15000 AND 45000 AS about_half;
SELECT near(estimate($$SELECT kind FROM thing_facts GROUP BY kind$$), 10);
-- The sample is spread over all of it.
SELECT most_common_vals IS NULL AS no_common, (histogram_bounds::text::text[])[1] < 'thing/006000' AS low,
	(histogram_bounds::text::text[])[11] > 'thing/054000' AS high FROM pg_stats WHERE tablename = 'thing_facts' AND attname = 'id';

-- After large deletions, once they are compacted, the files know better than an old ANALYZE.
-- (They are when no snapshot sees them any more; somebody in the background may still have one.)
DELETE FROM things WHERE id >= 'thing/006000';
DO $$
BEGIN
	FOR i IN 1..300 LOOP
		PERFORM docstore.compact('things');
		EXIT WHEN near(estimate('SELECT * FROM things'), 6000) = 'near';
		PERFORM pg_sleep(0.1);
		COMMIT;
	END LOOP;
END $$;
SELECT near(estimate('SELECT * FROM things'), 6000);
SELECT estimate('SELECT * FROM thing_facts') < 9000 AS shrunk;
ANALYZE thing_facts;
SELECT near(estimate('SELECT * FROM thing_facts'), 6000);
-- What does not fit its column counts as NULL, and does not keep the others from being known.
TRUNCATE things;
INSERT INTO things SELECT 'odd/' || g, jsonb_build_object('n', CASE WHEN g % 4 = 0 THEN 'many' ELSE g::text END, 'kind', 'k') FROM generate_series(1, 100) g;
ANALYZE thing_facts;
SELECT attname, null_frac, n_distinct FROM pg_stats WHERE tablename = 'thing_facts' AND attname IN ('n', 'kind') ORDER BY attname;
SELECT sum(n) FROM thing_facts;
TRUNCATE things;
ANALYZE thing_facts;
SELECT estimate('SELECT * FROM thing_facts') < 2000 AS few;

DROP FUNCTION estimate, near, blocks;
SET client_min_messages = warning;
SELECT docstore.drop_collection('things');
