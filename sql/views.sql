-- Map views: rows of documents appear, change and go with them; keys are positions and orders; errors keep to their document.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SELECT docstore.create_collection('birds');
INSERT INTO birds VALUES ('rook', '{"legs": 2, "family": "corvidae", "weight": 480, "seen": ["oak", "elm"]}'),
	('crow', '{"legs": 2, "family": "corvidae", "weight": 520, "seen": ["oak"]}'),
	('wren', '{"legs": 2, "family": "troglodytidae", "weight": 9, "seen": []}'),
	('egg', '{}');

-- A view builds by itself over what is there.
SELECT docstore.create_view('by_family', collections => '{birds}', key => 'family, weight DESC', map => $$
	SELECT doc->>'family' AS family, (doc->>'weight')::int AS weight, doc->'seen' AS seen FROM docs WHERE doc ? 'legs' $$);
SELECT docstore.create_view('sightings', collections => '{birds}', key => 'place', map => $$
	SELECT place, row_number() OVER () AS n FROM docs, jsonb_array_elements_text(doc->'seen') AS place $$);
SELECT docstore.wait_for_view('by_family'), docstore.wait_for_view('sightings');
SELECT * FROM by_family ORDER BY family, weight DESC;
SELECT * FROM sightings ORDER BY place, id;

-- Changes of all kinds: a document enters, leaves, moves, emits more and less.
INSERT INTO birds VALUES ('jay', '{"legs": 2, "family": "corvidae", "weight": 170, "seen": ["oak", "oak", "fir"]}');
UPDATE birds SET doc = doc || '{"legs": 2, "family": "ovidae"}' WHERE id = 'egg';
UPDATE birds SET doc = doc - 'legs' WHERE id = 'wren';
UPDATE birds SET doc = doc || '{"weight": 600, "seen": ["elm", "ash"]}' WHERE id = 'rook';
DELETE FROM birds WHERE id = 'crow';
SELECT docstore.wait_for_view('by_family'), docstore.wait_for_view('sightings');
SELECT * FROM by_family ORDER BY family, weight DESC;
SELECT * FROM sightings ORDER BY place, id, n;
SELECT name, state, rows, errors FROM docstore.view_status ORDER BY name;

-- What is rolled back never shows; what is committed late is not missed.
BEGIN;
INSERT INTO birds VALUES ('dodo', '{"legs": 2, "family": "columbidae"}');
SAVEPOINT a;
UPDATE birds SET doc = doc || '{"family": "raphidae"}' WHERE id = 'rook';
ROLLBACK TO a;
SELECT docstore.wait_for_view('by_family');
ROLLBACK;
BEGIN;
DELETE FROM birds WHERE id = 'egg';
INSERT INTO birds VALUES ('egg', '{"legs": 2, "family": "again", "weight": 1}');
COMMIT;
SELECT docstore.wait_for_view('by_family');
SELECT family, id FROM by_family ORDER BY family, id;
SELECT docstore.wait_for_view('by_family', '-1 s');
SELECT docstore.wait_for_view('nothing');

-- Statements may wait by themselves.
SET docstore.view_wait = '20s';
UPDATE birds SET doc = doc || '{"family": "waited for"}' WHERE id = 'egg';
SELECT family, id FROM by_family WHERE family LIKE 'w%';
INSERT INTO birds SELECT 'from ' || id, jsonb_build_object('legs', 2, 'family', 'copied') FROM by_family WHERE family = 'waited for';
SELECT count(*) FROM by_family WHERE family = 'copied';
DELETE FROM birds WHERE id LIKE 'from %';
PREPARE copied AS SELECT count(*) FROM by_family WHERE family = 'copied';
EXECUTE copied;
INSERT INTO birds VALUES ('from x', '{"legs": 2, "family": "copied"}');
EXECUTE copied;
BEGIN;
DELETE FROM birds WHERE id = 'from x';
EXECUTE copied;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
EXECUTE copied;
ROLLBACK;
RESET docstore.view_wait;
DELETE FROM birds WHERE id = 'from x';
DEALLOCATE copied;

-- A document joins by its id, and its rows with other tables.
-- (How the few documents are found is left to estimates.)
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS
$$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT trim(line) AS line FROM pg_temp.plan_of($$SELECT s.place, b.doc->'weight' FROM sightings s JOIN birds b USING (id) WHERE s.place = 'oak' ORDER BY id$$) AS line
WHERE line ~ 'sightings|place';
SELECT s.place, id, b.doc->'weight' AS weight FROM sightings s JOIN birds b USING (id) WHERE s.place = 'oak' ORDER BY id;
CREATE TABLE trees (tree text COLLATE "C", height int);
INSERT INTO trees VALUES ('oak', 30), ('fir', 60), ('ash', 40);
EXPLAIN (COSTS OFF) SELECT tree, id FROM trees LEFT JOIN sightings ON place = tree;
SELECT tree, height, id FROM trees LEFT JOIN sightings ON place = tree ORDER BY tree, id;
SELECT tree, (SELECT count(*) FROM sightings WHERE place = tree) FROM trees ORDER BY tree;
SELECT tree, s.id FROM trees, LATERAL (SELECT id FROM sightings WHERE place > tree ORDER BY place, id LIMIT 1) AS s ORDER BY tree;

-- A map that fails for a document keeps that document out, and only that; mended or deleted, it leaves the list.
INSERT INTO birds VALUES ('owl', '{"legs": 2, "family": "strigidae", "weight": "heavy"}'), ('bat', '{"legs": 2, "weight": "light"}'), ('tit', '{"legs": 2, "family": "paridae", "weight": 11}');
UPDATE birds SET doc = doc || '{"weight": []}' WHERE id = 'jay';
SELECT docstore.wait_for_view('by_family');
SELECT family, weight, id FROM by_family ORDER BY family, id;
SELECT e.view, e.collection, e.id, e.etag = b.etag AS newest, e.sqlstate, e.message FROM docstore.view_errors e JOIN birds b USING (id) ORDER BY e.id;
SELECT name, state, rows, errors FROM docstore.view_status ORDER BY name;
UPDATE birds SET doc = doc || '{"weight": 350}' WHERE id = 'owl';
DELETE FROM birds WHERE id = 'bat';
SELECT docstore.wait_for_view('by_family');
SELECT family, weight, id FROM by_family ORDER BY family, id;
SELECT view, id, message FROM docstore.view_errors;
-- A key too long is such an error, too.
UPDATE birds SET doc = jsonb_build_object('legs', 1, 'family', repeat('x', 9000)) WHERE id = 'jay';
SELECT docstore.wait_for_view('by_family');
SELECT view, id, sqlstate, message FROM docstore.view_errors;

-- A map whose function is gone pauses its view with the reason, and goes on when the function is back.
CREATE FUNCTION grams(jsonb) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT ($1->>'weight')::int $$;
SELECT docstore.create_view('by_grams', collections => '{birds}', key => 'grams', map => 'SELECT public.grams(doc) AS grams FROM docs');
SELECT docstore.wait_for_view('by_grams');
SELECT grams, id FROM by_grams ORDER BY grams DESC, id LIMIT 3;
DROP FUNCTION grams(jsonb);
INSERT INTO birds VALUES ('emu', '{"weight": 40000}');
SELECT docstore.wait_for_view('by_grams');
SELECT name, state, reason FROM docstore.view_status WHERE name = 'by_grams';
SELECT grams, id FROM by_grams ORDER BY grams LIMIT 1; -- what it had stays
CREATE FUNCTION grams(jsonb) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT ($1->>'weight')::int $$;
DO $$ BEGIN
	FOR i IN 1..1000 LOOP
		EXIT WHEN (SELECT state FROM docstore.view_status WHERE name = 'by_grams') = 'ready';
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT docstore.wait_for_view('by_grams');
SELECT grams, id FROM by_grams ORDER BY grams DESC NULLS LAST LIMIT 1;
SELECT docstore.drop_view('by_grams');
DROP FUNCTION grams(jsonb);

-- A paused view stays as it is until it is resumed.
SELECT docstore.pause_view('by_family');
UPDATE birds SET doc = doc || '{"family": "late"}' WHERE id = 'tit';
DELETE FROM birds WHERE id = 'owl';
SELECT docstore.wait_for_view('by_family');
SELECT docstore.wait_for_view('sightings');
SELECT family FROM by_family WHERE id = 'tit';
SELECT name, state, reason, changes_behind, time_behind < '1 hour' AS soon FROM docstore.view_status ORDER BY name;
SELECT docstore.resume_view('by_family');
SELECT docstore.wait_for_view('by_family');
SELECT family FROM by_family WHERE id = 'tit';
SELECT name, state, reason, changes_behind FROM docstore.view_status ORDER BY name;

-- TRUNCATE empties the view; what comes later enters.
TRUNCATE birds;
INSERT INTO birds VALUES ('kiwi', '{"legs": 2, "family": "apterygidae", "weight": 2000, "seen": ["fern"]}');
SELECT docstore.wait_for_view('by_family'), docstore.wait_for_view('sightings');
SELECT * FROM by_family;
SELECT * FROM sightings;
SELECT count(*) FROM docstore.view_errors;
SELECT name, state, rows FROM docstore.view_status ORDER BY name;

-- Several collections in one view.
SELECT docstore.create_collection('trees_too');
INSERT INTO trees_too VALUES ('kiwi', '{"legs": 0}'), ('oak', '{"legs": 0}');
SELECT docstore.create_view('everything', collections => '{trees_too, birds}', key => 'collection', map => 'SELECT collection, doc->''legs'' AS legs, etag > 0 AS has_etag FROM docs');
SELECT docstore.wait_for_view('everything');
SELECT * FROM everything ORDER BY collection, id;
TRUNCATE trees_too;
SELECT docstore.wait_for_view('everything');
SELECT * FROM everything ORDER BY collection, id;
SELECT docstore.drop_collection('trees_too', cascade => true);

-- Rights: the map runs as the view's owner; the foreign table's grants say who reads.
CREATE ROLE keeper;
CREATE ROLE guest;
GRANT CREATE ON SCHEMA public TO keeper;
SET ROLE keeper;
SELECT docstore.create_view('mine', 'SELECT doc FROM docs', '{birds}');
SELECT docstore.drop_view('by_family');
INSERT INTO docstore.views VALUES ('mine', '{"collections": ["birds"], "map": "SELECT doc FROM docs"}', 'postgres');
DELETE FROM docstore.views;
UPDATE docstore.view_progress SET rows = 0;
SELECT docstore.create_collection('own');
INSERT INTO own VALUES ('a', '{"n": 1}');
SELECT docstore.create_view('mine', 'SELECT (doc->>''n'')::int AS n, current_setting(''is_superuser'') AS su FROM docs', '{own}');
SELECT docstore.create_view('mine', 'SELECT (doc->>''n'')::int AS n FROM docs', '{own}', 'n');
SELECT docstore.wait_for_view('mine');
SELECT * FROM mine;
UPDATE own SET doc = '{"n": "secret"}';
SELECT docstore.wait_for_view('mine');
SELECT id, message FROM docstore.view_errors;
RESET ROLE;
SET ROLE guest;
SELECT * FROM mine;
SELECT id, message FROM docstore.view_errors;
SELECT * FROM docstore.view_error;
RESET ROLE;
UPDATE own SET doc = '{"n": 2}';
SELECT docstore.wait_for_view('mine');
GRANT SELECT ON mine TO guest;
SET ROLE guest;
SELECT * FROM mine;
RESET ROLE;
GRANT CREATE ON SCHEMA public TO guest;
SET ROLE guest;
CREATE FOREIGN TABLE sneaky (n int) SERVER docstore_views OPTIONS (view 'mine');
SELECT * FROM sneaky;
RESET ROLE;
DROP FOREIGN TABLE sneaky;
SET ROLE keeper;
SELECT docstore.drop_view('mine');
SELECT docstore.drop_collection('own');
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM keeper, guest;
DROP ROLE keeper, guest;

-- An owner who goes passes views on, or takes them along.
CREATE ROLE passing;
CREATE ROLE staying;
GRANT CREATE ON SCHEMA public TO passing, staying;
SET ROLE passing;
SELECT docstore.create_collection('held');
SELECT docstore.create_view('held_view', 'SELECT doc FROM docs', '{held}');
RESET ROLE;
REASSIGN OWNED BY passing TO staying;
SELECT v.owner, i.owner, c.owner FROM docstore.views v JOIN docstore.view_index i ON view = name JOIN docstore.collection c ON c.name = 'held' WHERE v.name = 'held_view';
INSERT INTO held VALUES ('a', '{}');
SELECT docstore.wait_for_view('held_view');
SELECT * FROM held_view;
SET ROLE staying;
UPDATE docstore.views SET owner = 'postgres' WHERE name = 'held_view';
RESET ROLE;
DROP OWNED BY staying, passing;
SELECT name FROM docstore.views WHERE name = 'held_view';
DROP ROLE staying, passing;

DROP TABLE trees;
TRUNCATE docstore.views;
SELECT docstore.drop_view('by_family');
SELECT docstore.drop_view('sightings');
SELECT docstore.drop_collection('birds');
