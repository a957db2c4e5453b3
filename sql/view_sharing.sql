-- Views that keep up with the same collections read a change once; one that fails or takes long does not hold the others.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT docstore.create_collection('fish');
SELECT docstore.create_collection('frogs');
CREATE FUNCTION public.weight(jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT ($1->>'g')::numeric $$;
SELECT docstore.create_view('by_kind', $$ SELECT doc->>'kind' AS kind, 1::bigint AS n FROM docs $$, '{fish}', reduce => 'SELECT kind, sum(n)::bigint AS n FROM results GROUP BY kind');
SELECT docstore.create_view('by_weight', $$ SELECT public.weight(doc) AS g FROM docs $$, '{fish}', 'g');
SELECT docstore.create_view('kinds', $$ SELECT doc->>'kind' AS kind FROM docs $$, '{fish}', 'kind');
SELECT docstore.wait_for_view('by_kind'), docstore.wait_for_view('by_weight'), docstore.wait_for_view('kinds');

-- Twenty transactions: each view has mapped each change once, but they were read about once and not three times.  (Whoever is
-- woken between two views by a commit may read on its own.)
DO $$ BEGIN
	FOR i IN 1..20 LOOP
		INSERT INTO fish SELECT i || '/' || g, jsonb_build_object('kind', 'k' || g % 3, 'g', i * g) FROM generate_series(1, 10) AS g;
		COMMIT;
		PERFORM docstore.wait_for_view('by_kind'), docstore.wait_for_view('by_weight'), docstore.wait_for_view('kinds');
		COMMIT;
	END LOOP;
END $$;
SELECT name, rows, changes_indexed FROM docstore.view_status ORDER BY name;
SELECT sum(changes_read) < 350 AS few FROM docstore.view_status;
UPDATE fish SET doc = doc || '{"kind": "old"}' WHERE id LIKE '1/%';
DELETE FROM fish WHERE id LIKE '2/%';
INSERT INTO fish VALUES ('2/1', '{"kind": "again", "g": 7}');
SELECT docstore.wait_for_view('by_kind'), docstore.wait_for_view('by_weight'), docstore.wait_for_view('kinds');
SELECT * FROM by_kind ORDER BY kind;
SELECT doc->>'kind' AS kind, count(*) AS n FROM fish GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(g) FROM by_weight;
SELECT count(*), sum((doc->>'g')::numeric) FROM fish;
SELECT kind, count(*) FROM kinds GROUP BY kind ORDER BY kind;

-- A map that cannot run any more pauses its view and no other.
DROP FUNCTION public.weight(jsonb);
INSERT INTO fish SELECT 'x/' || g, jsonb_build_object('kind', 'x', 'g', g) FROM generate_series(1, 5) AS g;
SELECT docstore.wait_for_view('by_kind'), docstore.wait_for_view('kinds');
SELECT * FROM by_kind WHERE kind = 'x';
SELECT docstore.wait_for_view('by_weight');
SELECT name, state, reason FROM docstore.view_status ORDER BY name;
DELETE FROM fish WHERE id = 'x/1';
SELECT docstore.wait_for_view('by_kind'), docstore.wait_for_view('kinds');
SELECT * FROM by_kind WHERE kind = 'x';
CREATE FUNCTION public.weight(jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT ($1->>'g')::numeric $$;
DO $$ BEGIN
	FOR i IN 1..2000 LOOP
		EXIT WHEN (SELECT state = 'ready' FROM docstore.view_status WHERE name = 'by_weight');
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT docstore.wait_for_view('by_weight');
SELECT count(*), sum(g) FROM by_weight;
SELECT count(*), sum((doc->>'g')::numeric) FROM fish;

-- More collections: those of one view are among those of another, or not.
SELECT docstore.create_view('all_kinds', $$ SELECT doc->>'kind' AS kind, collection FROM docs $$, '{fish, frogs}', 'kind');
SELECT docstore.wait_for_view('all_kinds');
INSERT INTO frogs VALUES ('f', '{"kind": "frog"}');
INSERT INTO fish VALUES ('g', '{"kind": "goldfish"}');
SELECT docstore.wait_for_view(name) FROM docstore.views;
SELECT kind, collection, id FROM all_kinds WHERE kind IN ('frog', 'goldfish') ORDER BY kind;
SELECT kind, id FROM kinds WHERE kind IN ('frog', 'goldfish') ORDER BY kind;
TRUNCATE fish;
INSERT INTO fish VALUES ('g', '{"kind": "new", "g": 1}');
SELECT docstore.wait_for_view(name) FROM docstore.views;
SELECT kind, collection, id FROM all_kinds ORDER BY kind;
SELECT kind, id FROM kinds;
SELECT * FROM by_kind;

-- A view that takes long to build keeps the others waiting for a batch and no longer.
INSERT INTO frogs SELECT 'many/' || g, '{}' FROM generate_series(1, 20000) AS g;
SELECT docstore.wait_for_view(name) FROM docstore.views;
SELECT docstore.create_view('slow', $$ SELECT md5(repeat(id, 2000)) AS m FROM docs $$, '{frogs}', 'm');
INSERT INTO fish VALUES ('h', '{"kind": "quick", "g": 2}');
SELECT docstore.wait_for_view('kinds');
SELECT kind, id FROM kinds WHERE kind = 'quick';
SELECT state FROM docstore.view_status WHERE name = 'slow';
DO $$ BEGIN
	FOR i IN 1..2000 LOOP
		EXIT WHEN (SELECT rate > 0 FROM docstore.view_status WHERE name = 'slow');
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT docstore.pause_view('slow');
SELECT state, rate > 0 AS rate, estimated_end > now() AS estimate FROM docstore.view_status WHERE name = 'slow';
SELECT docstore.drop_view(name) FROM docstore.views;
SELECT docstore.drop_collection('fish');
SELECT docstore.drop_collection('frogs');
DROP FUNCTION public.weight(jsonb);
