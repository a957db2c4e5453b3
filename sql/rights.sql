-- Rights: a collection belongs to the role that made it; foreign tables give others what their grants say.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SET client_min_messages = warning;
DROP ROLE IF EXISTS docstore_ada, docstore_bob, docstore_eve, docstore_team;
RESET client_min_messages;
CREATE ROLE docstore_team;
CREATE ROLE docstore_ada;
CREATE ROLE docstore_bob;
CREATE ROLE docstore_eve;
GRANT docstore_team TO docstore_bob;
CREATE SCHEMA work;
GRANT ALL ON SCHEMA work TO PUBLIC;
SET search_path = work;

-- Anybody with a schema to write in may make collections.
SET ROLE docstore_ada;
SELECT docstore.create_collection('diary');
INSERT INTO diary VALUES ('1', '{"dear": "diary"}');
SELECT name, owner FROM docstore.collections;

-- Others see that there is one, and nothing in it.
SET ROLE docstore_eve;
SELECT name, owner FROM docstore.collections;
SELECT * FROM diary;
INSERT INTO diary VALUES ('2', '{}');
SELECT docstore.put('diary', '1', '{}');
SELECT docstore.drop_collection('diary');
TRUNCATE diary;
-- A foreign table of one's own over it is no way in.
CREATE FOREIGN TABLE spyglass (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'diary');
SELECT * FROM spyglass;
SELECT * FROM spyglass WHERE id = '1';
EXPLAIN SELECT * FROM spyglass;
INSERT INTO spyglass VALUES ('2', '{}');
UPDATE spyglass SET doc = '{}';
DELETE FROM spyglass;
TRUNCATE spyglass;
ANALYZE spyglass;
COPY spyglass FROM STDIN;
2	{}
\.
IMPORT FOREIGN SCHEMA docstore FROM SERVER docstore INTO work;
SELECT foreign_table_name FROM information_schema.foreign_tables WHERE foreign_table_schema = 'work' ORDER BY 1;
-- Nor are the catalog and the maintenance functions.
UPDATE docstore.collection SET owner = 'docstore_eve';
SELECT * FROM docstore.collection;
SELECT nextval('docstore.storage_id_seq');
DROP FOREIGN TABLE spyglass;

-- Grants on the foreign table work as for any table, column by column.
SET ROLE docstore_ada;
GRANT SELECT (id) ON diary TO docstore_eve;
GRANT INSERT ON diary TO docstore_eve;
SET ROLE docstore_eve;
SELECT id FROM diary;
SELECT doc FROM diary;
INSERT INTO diary VALUES ('2', '{"by": "eve"}');
UPDATE diary SET doc = '{}';

-- A view shows a part.
SET ROLE docstore_ada;
CREATE VIEW public_diary WITH (security_barrier) AS SELECT id, doc FROM diary WHERE doc->>'by' = 'eve';
GRANT SELECT ON public_diary TO docstore_eve;
SET ROLE docstore_eve;
SELECT * FROM public_diary WHERE id > '';
CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$;
SELECT * FROM public_diary WHERE leak(id) AND id = '1';
SELECT * FROM public_diary WHERE leak(id) ORDER BY id;

-- A collection of a group: its members may all use it, through tables of their own.
SET ROLE docstore_team;
SELECT docstore.create_collection('shared', create_table => false);
SET ROLE docstore_bob;
CREATE FOREIGN TABLE shared_by_bob (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'shared');
INSERT INTO shared_by_bob VALUES ('x', '{}');
SELECT docstore.put('shared', 'y', '{}') > 0 AS put;
SELECT id FROM shared_by_bob ORDER BY id;
-- The owner cannot drop other roles' tables along, unless told to.
SET ROLE docstore_team;
SELECT docstore.drop_collection('shared');
-- No longer a member, no longer a way in.
RESET ROLE;
REVOKE docstore_team FROM docstore_bob;
SET ROLE docstore_bob;
SELECT id FROM shared_by_bob ORDER BY id;
SELECT docstore.put('shared', 'y', '{}');
-- A table that has lost its right is no reason to keep the collection.
SET ROLE docstore_team;
SELECT docstore.drop_collection('shared');
SET ROLE docstore_bob;
SELECT id FROM shared_by_bob;

-- Without USAGE on the server there is nothing to make.
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER docstore FROM PUBLIC;
SET ROLE docstore_eve;
SELECT docstore.create_collection('mine', create_table => false);
CREATE FOREIGN TABLE mine (id text) SERVER docstore OPTIONS (collection 'mine');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER docstore TO PUBLIC;

-- A superuser may do all, and give a collection to somebody else.
UPDATE docstore.collection SET owner = 'docstore_bob' WHERE name = 'diary';
SET ROLE docstore_ada;
SELECT id FROM diary;
RESET ROLE;
UPDATE docstore.collection SET owner = 'docstore_ada' WHERE name = 'diary';
SET ROLE docstore_ada;
SELECT id FROM diary;
RESET ROLE;
SELECT count(*) FROM diary;
SELECT docstore.drop_collection('diary', cascade => true);
SET client_min_messages = warning;
DROP SCHEMA work CASCADE;
DROP ROLE docstore_ada, docstore_bob, docstore_eve, docstore_team;
