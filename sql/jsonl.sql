-- JSON Lines: collections out into files and in again.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
\getenv directory PG_ABS_BUILDDIR
\set file :directory '/results/jsonl.tmp'

SELECT docstore.create_collection('birds');
INSERT INTO birds VALUES ('rook', '{"legs": 2, "says": "kaah\n\"loud\""}'), ('owl', '{"legs": 2.50}'), ('ü/1', '["é", null]'), ('x', '3');

-- As rows, for COPY and clients; in the order of ids.
SELECT docstore.export('birds');
COPY (SELECT docstore.export('birds')) TO STDOUT WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
SELECT line->>'id' AS id FROM docstore.export('birds') AS line WHERE line->'doc'->>'legs' IS NOT NULL;

-- Into a file of the server, and back into another collection.
SELECT docstore.export('birds', :'file');
SELECT docstore.create_collection('again');
SELECT docstore.import('again', :'file');
SELECT count(*), count(*) FILTER (WHERE a.doc = b.doc) AS same FROM birds b FULL JOIN again a USING (id);
-- It is all or nothing, and part of the transaction.
BEGIN;
TRUNCATE again;
SELECT docstore.import('again', :'file');
SELECT count(*) FROM again;
ROLLBACK;
SELECT count(*) FROM again;

-- Lines that are documents: where the id lies is said.  Empty lines are no trouble.
COPY (VALUES ('{"code": "AMS", "at": {"no": 7}}'), (NULL), ('{"code": "LPB", "at": {"no": 8.50}}')) TO :'file'
WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
TRUNCATE again;
SELECT docstore.import('again', :'file', id_path => 'code');
SELECT docstore.import('again', :'file', id_path => 'at.no');
SELECT id, doc FROM again ORDER BY id;

-- What is wrong is said with the line, and nothing stays.
CREATE FUNCTION try(lines text[], file text, id_path text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	context text;
BEGIN
	EXECUTE format($f$COPY (SELECT unnest(%L::text[])) TO %L WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')$f$, lines, file);
	RETURN docstore.import('again', file, id_path) || ' documents';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
	RETURN state || ' ' || message || ': ' || detail || coalesce(' (' || substring(context FROM 'jsonl.tmp", (line \d+)') || ')', '');
END $$;
SELECT try('{"{\"id\": \"a\", \"doc\": {}}", "{\"id\": \"b\""}', :'file');
SELECT try('{"{\"id\": \"a\", \"doc\": {}}", "{\"id\": \"b\"}"}', :'file');
SELECT try('{"{\"doc\": {}}"}', :'file');
SELECT try('{"[1]"}', :'file');
SELECT try('{"{\"id\": null, \"doc\": {}}"}', :'file');
SELECT try('{"{\"id\": true, \"doc\": {}}"}', :'file');
SELECT try('{"{\"id\": \"\", \"doc\": {}}"}', :'file');
SELECT try('{"{\"code\": 1}"}', :'file', 'c..d');
SELECT try('{"{\"id\": \"AMS\", \"doc\": {}}"}', :'file');
SELECT try('{"{\"id\": \"ZRH\", \"doc\": {}}", "{\"id\": \"ZRH\", \"doc\": {}}"}', :'file');
SELECT try('{}', :'file');
SELECT id FROM again ORDER BY id;
SELECT docstore.import('again', 'jsonl.tmp');
SELECT docstore.export('again', 'jsonl.tmp');
SELECT docstore.import('again', '/');
SELECT docstore.import('again', '/nonexistent/jsonl.tmp');
SELECT docstore.export('again', '/nonexistent/jsonl.tmp');
SELECT docstore.import('nothing', :'file');
SELECT docstore.export('nothing');
SELECT docstore.export(NULL);
SELECT docstore.import('again', NULL);

-- For the collection's owner, and files for those who may use the server's.
CREATE ROLE docstore_clerk;
SET ROLE docstore_clerk;
SELECT docstore.export('again');
SELECT docstore.create_collection('mine', create_table => false);
SELECT docstore.put('mine', 'a', '{}') > 0 AS put;
SELECT docstore.export('mine');
SELECT docstore.export('mine', :'file');
SELECT docstore.import('mine', :'file');
RESET ROLE;
GRANT pg_read_server_files, pg_write_server_files TO docstore_clerk;
SET ROLE docstore_clerk;
SELECT docstore.export('again', :'file');
SELECT docstore.export('mine', :'file');
BEGIN READ ONLY;
SELECT docstore.import('mine', :'file');
ROLLBACK;
SELECT docstore.drop_collection('mine');
RESET ROLE;
DROP ROLE docstore_clerk;

DROP FUNCTION try;
SET client_min_messages = warning;
SELECT docstore.drop_collection('birds'), docstore.drop_collection('again');
