-- Collections: made, listed, emptied, imported, dropped.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

-- What the extension offers says what it is (\df+, \d+).
SELECT pg_describe_object(classid, objid, 0) AS has_no_comment FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'docstore') AND deptype = 'e'
	AND (classid = 'pg_proc'::regclass OR objid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'v')))
	AND obj_description(objid, classid::regclass::name) IS NULL;

-- A collection comes with a foreign table of its name.
SELECT docstore.create_collection('birds');
\d birds
SELECT name, owner = current_user::regrole AS mine, storage_id > 0 AS stored FROM docstore.collections;
INSERT INTO birds VALUES ('rook', '{"legs": 2}'), ('owl', '{"legs": 2, "night": true}');
SELECT id, doc FROM birds ORDER BY id;

-- Or without one; then one can be made with any columns, and several may show the same documents.
SELECT docstore.create_collection('fish', create_table => false);
CREATE FOREIGN TABLE fish_names (id text COLLATE "C") SERVER docstore OPTIONS (collection 'fish');
CREATE FOREIGN TABLE fish_docs (id varchar COLLATE "C", doc json) SERVER docstore OPTIONS (collection 'fish');
INSERT INTO fish_docs VALUES ('carp', '{"water": "fresh"}');
SELECT * FROM fish_names;
SELECT * FROM fish_docs;

-- Dropping a foreign table drops no documents.
DROP FOREIGN TABLE fish_docs;
SELECT * FROM fish_names;

-- A name is used once.
SELECT docstore.create_collection('birds');
SELECT docstore.create_collection('');
SELECT docstore.create_collection(repeat('x', 64));
SELECT docstore.create_collection(NULL);

-- TRUNCATE empties all tables that show the collection, and can be rolled back.
CREATE FOREIGN TABLE birds_again (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'birds');
BEGIN;
TRUNCATE birds;
SELECT count(*) FROM birds;
SELECT count(*) FROM birds_again;
INSERT INTO birds VALUES ('rook', '{"legs": 1}');
ROLLBACK;
SELECT id, doc FROM birds ORDER BY id;
TRUNCATE birds;
SELECT count(*) FROM birds_again;
INSERT INTO birds VALUES ('rook', '{"legs": 2, "new": true}');
SELECT * FROM birds_again;

-- A savepoint's TRUNCATE goes back with it.
BEGIN;
SAVEPOINT a;
TRUNCATE birds;
SELECT count(*) FROM birds;
ROLLBACK TO a;
SELECT count(*) FROM birds;
COMMIT;
SELECT count(*) FROM birds;

-- A statement whose own function empties, by another table, what it writes to: neither goes on with what is gone.
CREATE FUNCTION empty_birds(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF n = 2 THEN
		TRUNCATE birds_again;
	END IF;
	RETURN 'b' || n;
END $$;
INSERT INTO birds SELECT empty_birds(n), '{}' FROM generate_series(1, 3) AS n;
INSERT INTO birds SELECT 'c' || n, to_jsonb(empty_birds(n)) FROM generate_series(1, 3) AS n ON CONFLICT DO NOTHING;
UPDATE birds SET doc = to_jsonb(empty_birds(2));
SELECT count(*) FROM birds;
DROP FUNCTION empty_birds;

-- IMPORT FOREIGN SCHEMA makes tables for collections that are there.
CREATE SCHEMA imported;
IMPORT FOREIGN SCHEMA docstore FROM SERVER docstore INTO imported;
SELECT foreign_table_name FROM information_schema.foreign_tables
WHERE foreign_table_schema = 'imported' ORDER BY 1;
SELECT id, doc FROM imported.birds;
CREATE SCHEMA imported_fish;
IMPORT FOREIGN SCHEMA docstore LIMIT TO (fish) FROM SERVER docstore INTO imported_fish;
CREATE SCHEMA imported_others;
IMPORT FOREIGN SCHEMA docstore EXCEPT (fish) FROM SERVER docstore INTO imported_others;
SELECT foreign_table_schema, foreign_table_name FROM information_schema.foreign_tables
WHERE foreign_table_schema LIKE 'imported\_%' ORDER BY 1, 2;
IMPORT FOREIGN SCHEMA elsewhere FROM SERVER docstore INTO imported;
IMPORT FOREIGN SCHEMA docstore FROM SERVER docstore INTO imported OPTIONS (speed 'high');
SET client_min_messages = warning;
DROP SCHEMA imported, imported_fish, imported_others CASCADE;
RESET client_min_messages;

-- drop_collection takes documents and foreign tables along; what depends on those only with cascade.
CREATE VIEW two_legs AS SELECT id FROM birds WHERE doc->>'legs' = '2';
SELECT docstore.drop_collection('birds');
SELECT * FROM two_legs;
SET client_min_messages = warning;
SELECT docstore.drop_collection('birds', cascade => true);
RESET client_min_messages;
SELECT * FROM birds;
SELECT * FROM birds_again;
SELECT docstore.drop_collection('birds');

-- What was dropped and made again begins empty; a drop can be rolled back.
SELECT docstore.create_collection('birds');
SELECT count(*) FROM birds;
INSERT INTO birds VALUES ('wren', '{}');
BEGIN;
SELECT docstore.drop_collection('birds');
SELECT docstore.create_collection('birds');
SELECT count(*) FROM birds;
ROLLBACK;
SELECT id FROM birds;
BEGIN;
SELECT docstore.create_collection('insects');
INSERT INTO insects VALUES ('bee', '{}');
ROLLBACK;
SELECT id FROM insects;
SELECT name FROM docstore.collections ORDER BY name;

-- A foreign table over a collection that is not there can be made, but not used.
CREATE FOREIGN TABLE ghosts (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'ghosts');
SELECT * FROM ghosts;
INSERT INTO ghosts VALUES ('x', '{}');
DROP FOREIGN TABLE ghosts;

-- Rows put into the catalog by others (a dump that is restored) get a storage of their own.
INSERT INTO docstore.collection (name, storage_id, owner) SELECT 'birds_copy', storage_id, owner FROM docstore.collection WHERE name = 'birds';
SELECT count(DISTINCT storage_id) = count(*) AS distinct_storage FROM docstore.collection;
CREATE FOREIGN TABLE birds_copy (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'birds_copy');
SELECT * FROM birds_copy;

SELECT docstore.drop_collection('birds'), docstore.drop_collection('birds_copy'), docstore.drop_collection('fish');
SELECT count(*) FROM docstore.collections;

-- The extension takes its collections along; made again, it does not find their documents.
SELECT docstore.create_collection('relics');
INSERT INTO relics VALUES ('x', '{}');
SET client_min_messages = warning;
BEGIN;
DROP EXTENSION docstore CASCADE;
ROLLBACK;
SELECT id FROM relics;
DROP EXTENSION docstore CASCADE;
CREATE EXTENSION docstore;
RESET client_min_messages;
SELECT docstore.create_collection('relics');
SELECT id FROM relics;
SELECT docstore.drop_collection('relics');
