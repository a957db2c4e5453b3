-- The change feed: a consumer is handed which documents were changed, deletions included, in the order of etags.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
DROP ROLE IF EXISTS docstore_reader, docstore_other;
RESET client_min_messages;

SELECT docstore.create_collection('birds');
SELECT docstore.create_collection('nests');
INSERT INTO birds VALUES ('rook', '{"legs": 2}'), ('jay', '{"legs": 2}');

-- What was there before is not handed out; read it with a query.
SELECT docstore.create_consumer('watcher', '{nests,birds}');
SELECT name, owner = current_user::regrole AS own, collections FROM docstore.consumers;
SELECT id, deleted, doc FROM docstore.changes('watcher');

-- Each changed document comes once, in its newest version, after all that have lower etags.
INSERT INTO birds VALUES ('owl', '{"n": 1}'), ('crow', '{"n": 1}');
INSERT INTO nests VALUES ('n1', '"twigs"');
UPDATE birds SET doc = '{"n": 2}' WHERE id = 'owl';
DELETE FROM birds WHERE id = 'jay';
SELECT docstore.put('birds', 'rook', '{"legs": 3}') > 0 AS put;
UPDATE birds SET id = 'raven' WHERE id = 'crow';
SELECT collection, id, deleted, doc FROM docstore.changes('watcher');
-- They say what the tables say.
SELECT c.id, c.etag = b.etag AS etag, c.modified = b.modified AS modified, c.doc = b.doc AS doc
FROM docstore.changes('watcher') AS c JOIN birds AS b USING (id) WHERE c.collection = 'birds' ORDER BY id;

-- Reading moves nothing, advancing does; and never back.
SELECT collection, id FROM docstore.changes('watcher', 2);
SELECT docstore.advance_consumer('watcher', max(etag)) = max(etag) AS moved FROM docstore.changes('watcher', 2);
SELECT docstore.advance_consumer('watcher', -1) = position AS stays FROM docstore.consumers WHERE name = 'watcher';
SELECT collection, id FROM docstore.changes('watcher');

-- What this transaction wrote is not handed out before it is committed, and of a rolled back one nothing is.
BEGIN;
INSERT INTO birds VALUES ('mine', '1');
SELECT id FROM docstore.changes('watcher') WHERE id = 'mine';
ROLLBACK;
SELECT id FROM docstore.changes('watcher') WHERE id = 'mine';
BEGIN;
INSERT INTO birds VALUES ('kept', '1');
SAVEPOINT a;
INSERT INTO birds VALUES ('not kept', '1');
UPDATE birds SET doc = '2' WHERE id = 'kept';
ROLLBACK TO a;
COMMIT;
SELECT id, doc FROM docstore.changes('watcher') WHERE id LIKE '%kept';

-- Advancing is part of the transaction.
BEGIN;
SELECT docstore.advance_consumer('watcher', (SELECT max(etag) FROM docstore.changes('watcher'))) > 0 AS advanced;
SELECT count(*) FROM docstore.changes('watcher');
ROLLBACK;
SELECT count(*) > 0 AS again FROM docstore.changes('watcher');
SELECT docstore.advance_consumer('watcher', (SELECT max(etag) FROM docstore.changes('watcher'))) > 0 AS advanced;
SELECT count(*) FROM docstore.changes('watcher');

-- In batches and by COPY, too.
INSERT INTO birds SELECT 'b' || lpad(i::text, 4, '0'), to_jsonb(i) FROM generate_series(1, 500) AS i;
COPY birds (id, doc) FROM STDIN;
c1	{"copied": true}
c2	{"copied": true}
\.
SELECT count(*), count(DISTINCT c.etag), min(c.id), max(c.id), bool_and(c.etag = b.etag AND c.doc = b.doc) AS same
FROM docstore.changes('watcher') AS c LEFT JOIN birds AS b USING (id);
-- A limit cuts, and what comes next goes on from there.
CREATE TEMP TABLE seen (id text);
DO $$
DECLARE last bigint;
BEGIN
	LOOP
		WITH batch AS (SELECT * FROM docstore.changes('watcher', 100)),
			kept AS (INSERT INTO seen SELECT id FROM batch)
		SELECT max(etag) INTO last FROM batch;
		EXIT WHEN last IS NULL;
		PERFORM docstore.advance_consumer('watcher', last);
	END LOOP;
END $$;
SELECT count(*), count(DISTINCT id) FROM seen;

-- A document that comes and goes leaves a deletion: nobody knows whether the consumer had it.
INSERT INTO nests VALUES ('short', '1');
DELETE FROM nests WHERE id = 'short';
SELECT id, deleted, doc FROM docstore.changes('watcher');

-- TRUNCATE: a row without an id.  What the collection held before is gone, and what was not yet read of it.
UPDATE nests SET doc = '"moss"' WHERE id = 'n1';
TRUNCATE nests;
INSERT INTO nests VALUES ('n2', '"moss"');
SELECT collection, id, deleted, doc FROM docstore.changes('watcher');
BEGIN;
TRUNCATE nests;
INSERT INTO nests VALUES ('n3', '"grass"');
ROLLBACK;
SELECT collection, id, deleted, doc FROM docstore.changes('watcher');
TRUNCATE nests;
SELECT collection, id, deleted, doc FROM docstore.changes('watcher');
SELECT docstore.advance_consumer('watcher', (SELECT max(etag) FROM docstore.changes('watcher'))) > 0 AS advanced;
SELECT count(*) FROM docstore.changes('watcher');

-- Feeds survive flushes and compactions; large documents come whole.
INSERT INTO birds SELECT 'large', jsonb_build_object('text', repeat('x', 3000000));
DELETE FROM birds WHERE id = 'owl';
SELECT docstore.compact();
SELECT id, deleted, length(doc->>'text') FROM docstore.changes('watcher');
SELECT docstore.advance_consumer('watcher', (SELECT max(etag) FROM docstore.changes('watcher'))) > 0 AS advanced;

-- Two consumers are independent; a repeatable read transaction sees what is committed, as the others do.
SELECT docstore.create_consumer('other', '{birds}');
INSERT INTO birds VALUES ('wren', '1');
SELECT docstore.advance_consumer('other', (SELECT max(etag) FROM docstore.changes('other'))) > 0 AS advanced;
SELECT id FROM docstore.changes('other');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT id FROM docstore.changes('watcher');
COMMIT;

-- The changes of one collection after an etag need no consumer of their own, as long as some consumer has not passed them.
SELECT position AS since FROM docstore.consumers WHERE name = 'watcher' \gset
INSERT INTO birds VALUES ('heron', '1'), ('ibis', '1');
DELETE FROM birds WHERE id = 'wren';
INSERT INTO nests VALUES ('n3', '"reeds"');
SELECT id, deleted, doc FROM docstore.changes('birds', :since, 100);
SELECT id, c.etag = b.etag AS etag, c.modified = b.modified AS modified FROM docstore.changes('birds', :since, 1) AS c JOIN birds AS b USING (id);
SELECT max(etag) AS next FROM docstore.changes('birds', :since, 1) \gset
SELECT id FROM docstore.changes('birds', :next, 100);
SELECT id FROM docstore.changes('birds', 9223372036854775807, 100);
SELECT id FROM docstore.changes('birds', NULL, 100);
SELECT id FROM docstore.changes('birds', :since, 0);
SELECT id FROM docstore.changes('nobody', :since, 1);
-- How far each consumer is behind, and what it keeps.
SELECT name, kind, collections, changes_behind, time_behind >= '0' AS time, etags_per_second > 0 AS rate, estimated_bytes >= 0 AS bytes
FROM docstore.consumers WHERE name IN ('watcher', 'other') ORDER BY name;
-- What all consumers have passed may be gone: an error, and not a gap.
SELECT docstore.advance_consumer('watcher', (SELECT max(etag) FROM docstore.changes('watcher'))) > 0 AS advanced;
SELECT docstore.advance_consumer('other', (SELECT min(etag) FROM docstore.changes('other'))) > 0 AS advanced;
SELECT changes_behind, time_behind, etags_per_second > 0 AS rate FROM docstore.consumers WHERE name = 'watcher';
\set VERBOSITY sqlstate
SELECT id FROM docstore.changes('birds', :since, 100);
SELECT id FROM docstore.changes('birds', -1, 100);
\set VERBOSITY default
SELECT count(*) FROM docstore.changes('birds', (SELECT position FROM docstore.consumers WHERE name = 'other'), 100);
SELECT docstore.advance_consumer('other', (SELECT max(etag) FROM docstore.changes('other'))) > 0 AS advanced;
INSERT INTO birds VALUES ('lark', '1');
SELECT docstore.advance_consumer('other', (SELECT max(etag) FROM docstore.changes('other'))) > 0 AS advanced;

-- Waiting ends at once if there is something, else after the time given.
SELECT docstore.wait_for_changes('watcher');
SELECT docstore.wait_for_changes('other', '10 ms');

-- Without a consumer nothing is recorded.  A new one begins afresh.
SELECT docstore.drop_consumer('watcher');
SELECT docstore.drop_consumer('other');
SELECT id FROM docstore.changes('birds', 0, 100);
INSERT INTO birds VALUES ('finch', '1');
SELECT docstore.create_consumer('watcher', '{birds}');
INSERT INTO birds VALUES ('tit', '1');
SELECT id FROM docstore.changes('watcher');

-- Documents written and a consumer made in one transaction: neither before nor after is lost.
BEGIN;
INSERT INTO nests VALUES ('before', '1');
SELECT docstore.create_consumer('both', '{nests}');
INSERT INTO nests VALUES ('after', '1');
COMMIT;
SELECT id FROM docstore.changes('both');
SELECT id FROM nests ORDER BY id;
BEGIN;
SELECT docstore.drop_consumer('both');
INSERT INTO nests VALUES ('untracked', '1');
ROLLBACK;
INSERT INTO nests VALUES ('tracked', '1');
SELECT id FROM docstore.changes('both');

-- A collection that is read cannot be dropped just so.
SELECT docstore.drop_collection('nests');
SELECT docstore.drop_collection('nests', cascade => true);
SELECT name FROM docstore.consumers;

-- Errors.
SELECT docstore.create_consumer('watcher', '{birds}');
SELECT docstore.create_consumer('x', '{nobody}');
SELECT docstore.create_consumer('x', '{}');
SELECT docstore.create_consumer('x', '{birds,birds}');
SELECT docstore.create_consumer('x', '{birds,NULL}');
SELECT docstore.create_consumer('', '{birds}');
SELECT docstore.create_consumer(repeat('x', 64), '{birds}');
SELECT docstore.drop_consumer('nobody');
SELECT docstore.changes('nobody');
SELECT docstore.changes('watcher', 0);
SELECT docstore.advance_consumer('nobody', 1);
SELECT docstore.wait_for_changes('nobody');
\set VERBOSITY terse
SELECT docstore.advance_consumer('watcher', 9223372036854775807);
\set VERBOSITY default
BEGIN READ ONLY;
SELECT docstore.create_consumer('x', '{birds}');
ROLLBACK;
BEGIN READ ONLY;
SELECT id FROM docstore.changes('watcher');
SELECT docstore.advance_consumer('watcher', 1);
ROLLBACK;

-- Rights: of the collection's owner to make a consumer, of the consumer's owner to use it.
CREATE ROLE docstore_reader;
SET ROLE docstore_reader;
SELECT docstore.create_consumer('theirs', '{birds}');
SELECT docstore.changes('watcher');
SELECT docstore.changes('birds', 0, 1);
SELECT docstore.advance_consumer('watcher', 1);
SELECT docstore.wait_for_changes('watcher');
SELECT docstore.drop_consumer('watcher');
SELECT name FROM docstore.consumers;
SELECT * FROM docstore.consumer;
SELECT docstore.create_collection('theirs', false);
SELECT docstore.create_consumer('theirs', '{theirs}');
SELECT docstore.create_consumer('mixed', '{theirs,birds}');
SELECT docstore.put('theirs', 'a', '1') > 0 AS put;
SELECT id FROM docstore.changes('theirs');
RESET ROLE;

-- Its owner cannot be dropped, but can lose what it reads; owned things are given away and dropped together.
CREATE ROLE docstore_other;
SELECT docstore.set_owner('theirs', 'docstore_other');
DROP ROLE docstore_reader;
SELECT id FROM docstore.changes('theirs');
REASSIGN OWNED BY docstore_reader TO docstore_other;
SELECT name, owner FROM docstore.consumers ORDER BY name;
SELECT id FROM docstore.changes('theirs');
DROP ROLE docstore_reader;
DROP ROLE docstore_other;
DROP OWNED BY docstore_other;
SELECT name FROM docstore.consumers;
DROP ROLE docstore_other;

-- A consumer that a statement's own function makes gets what the statement writes from then on.
SELECT docstore.create_collection('eggs');
CREATE FUNCTION begin_to_watch(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF n = 2 THEN
		PERFORM docstore.create_consumer('eggs', '{eggs}');
	END IF;
	RETURN 'e' || n;
END $$;
INSERT INTO eggs SELECT begin_to_watch(n), '{}' FROM generate_series(1, 3) AS n;
SELECT id FROM docstore.changes('eggs');
SELECT docstore.drop_collection('eggs', cascade => true);
DROP FUNCTION begin_to_watch;

SELECT docstore.drop_consumer('watcher');
SELECT docstore.drop_collection('birds');
