-- Errors: what is wrong is said, with what to do, and nothing else is lost.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('things');

-- Ids.
INSERT INTO things VALUES (NULL, '{}');
INSERT INTO things VALUES ('', '{}');
INSERT INTO things VALUES (repeat('x', 1025), '{}');
INSERT INTO things (doc) VALUES ('{}');
SELECT docstore.put('things', repeat('é', 600), '{}');
INSERT INTO things VALUES ('a', '{}');
UPDATE things SET id = NULL WHERE id = 'a';
UPDATE things SET id = '' WHERE id = 'a';
UPDATE things SET id = repeat('y', 2000) WHERE id = 'a';

-- Documents.
INSERT INTO things VALUES ('b', NULL);
INSERT INTO things (id) VALUES ('b');
INSERT INTO things VALUES ('b', '{"broken');
UPDATE things SET doc = NULL;
SELECT docstore.put('things', 'b', NULL);

-- What the store sets itself.
INSERT INTO things VALUES ('c', '{}', 1);
INSERT INTO things SELECT * FROM things;
INSERT INTO things (id, doc, modified) VALUES ('c', '{}', now());
UPDATE things SET etag = etag + 1;
UPDATE things SET modified = now() WHERE id = 'a';
INSERT INTO things VALUES ('c', '{}', NULL, NULL);

-- Their SQLSTATEs.
DO $$
DECLARE
	statement text;
BEGIN
	FOREACH statement IN ARRAY ARRAY[
		$s$INSERT INTO things VALUES (NULL, '{}')$s$,
		$s$INSERT INTO things VALUES ('', '{}')$s$,
		$s$INSERT INTO things VALUES (repeat('x', 1025), '{}')$s$,
		$s$INSERT INTO things VALUES ('a', '{}')$s$,
		$s$INSERT INTO things VALUES ('b', NULL)$s$,
		$s$INSERT INTO things VALUES ('b', '{}', 1)$s$,
		$s$SELECT docstore.put('things', 'a', '{}', 0)$s$,
		$s$SELECT docstore.create_collection('things')$s$,
		$s$SELECT docstore.drop_collection('nothing')$s$]
	LOOP
		BEGIN
			EXECUTE statement;
			RAISE NOTICE 'no error: %', statement;
		EXCEPTION WHEN OTHERS THEN
			RAISE NOTICE '% %', SQLSTATE, statement;
		END;
	END LOOP;
END $$;

-- What is not there.
SELECT docstore.compact('nothing');

-- Options.
CREATE FOREIGN TABLE bad (id text) SERVER docstore;
CREATE FOREIGN TABLE bad (id text) SERVER docstore OPTIONS (colection 'things');
CREATE FOREIGN TABLE bad (id text) SERVER docstore OPTIONS (collection '');
CREATE FOREIGN TABLE bad (id text, a text OPTIONS (paht 'a')) SERVER docstore OPTIONS (collection 'things');
ALTER SERVER docstore OPTIONS (ADD host 'localhost');
CREATE USER MAPPING FOR CURRENT_USER SERVER docstore OPTIONS (password 'x');
ALTER FOREIGN TABLE things OPTIONS (DROP collection);

-- Paths, with the position of the fault.
CREATE FUNCTION try_path(path text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE tried (id text, a text OPTIONS (path %L)) SERVER docstore OPTIONS (collection ''things'')', path);
	DROP FOREIGN TABLE tried;
END $$;
SELECT try_path('');
SELECT try_path('a..b');
SELECT try_path('.a');
SELECT try_path('a.');
SELECT try_path('a[');
SELECT try_path('a[x]');
SELECT try_path('a[1');
SELECT try_path('a[-1]');
SELECT try_path('a[99999999999]');
SELECT try_path('a]');
SELECT try_path('a b');
SELECT try_path('a."b');
SELECT try_path('é.é!."ü');
SELECT try_path('a"b"');
SELECT try_path('"a"b');
SELECT try_path('[1]a');
SELECT try_path('a.b[0][1].c');
SELECT try_path('"a ""quoted"" name".b');
SELECT try_path('[1].a');
SELECT try_path('$.a-b_c:d');

-- Types of the columns that every document has.
CREATE FOREIGN TABLE bad_id (id int) SERVER docstore OPTIONS (collection 'things');
SELECT * FROM bad_id;
CREATE FOREIGN TABLE bad_doc (doc text) SERVER docstore OPTIONS (collection 'things');
SELECT * FROM bad_doc;
CREATE FOREIGN TABLE bad_etag (etag int) SERVER docstore OPTIONS (collection 'things');
SELECT * FROM bad_etag;
CREATE FOREIGN TABLE bad_modified (modified timestamp) SERVER docstore OPTIONS (collection 'things');
SELECT * FROM bad_modified;
ALTER FOREIGN TABLE bad_modified ALTER modified OPTIONS (ADD path 'modified');
SELECT * FROM bad_modified;

-- A table without an id shows documents, but cannot change them.
CREATE FOREIGN TABLE no_id (doc jsonb) SERVER docstore OPTIONS (collection 'things');
SELECT * FROM no_id ORDER BY doc;
INSERT INTO no_id VALUES ('{}');
UPDATE no_id SET doc = '{}';
DELETE FROM no_id;

-- Definitions may change under a session that has used them.
CREATE FOREIGN TABLE changing (id text COLLATE "C", a text) SERVER docstore OPTIONS (collection 'things');
UPDATE things SET doc = '{"a": 1, "b": {"a": 2}}' WHERE id = 'a';
SELECT * FROM changing WHERE id = 'a';
ALTER FOREIGN TABLE changing ALTER a OPTIONS (ADD path 'b.a');
SELECT * FROM changing WHERE id = 'a';
ALTER FOREIGN TABLE changing ALTER a TYPE int;
SELECT a + 1 AS a FROM changing WHERE id = 'a';
ALTER FOREIGN TABLE changing DROP a, ADD b jsonb;
SELECT * FROM changing WHERE id = 'a';
UPDATE changing SET b = '7' WHERE id = 'a' RETURNING *;

-- A library and an extension of different versions: an error, and no guess.
BEGIN;
ALTER TABLE docstore.collection ADD COLUMN later int;
SELECT * FROM changing;
ROLLBACK;
BEGIN;
ALTER TABLE docstore.view_index ADD COLUMN later int;
SELECT docstore.drop_view('none');
ROLLBACK;
BEGIN;
ALTER TABLE docstore.consumer ADD COLUMN later int;
SELECT docstore.create_consumer('none', '{things}');
ROLLBACK;

-- After all that, the documents are as they were.
SELECT id, doc FROM things ORDER BY id;

DROP FUNCTION try_path;
SET client_min_messages = warning;
SELECT docstore.drop_collection('things');
