-- Owners: collections given away, and what DROP ROLE, DROP OWNED and REASSIGN OWNED do to them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
DROP ROLE IF EXISTS docstore_ada, docstore_bob, docstore_eve;
RESET client_min_messages;
CREATE ROLE docstore_ada;
CREATE ROLE docstore_bob;
CREATE ROLE docstore_eve;
CREATE SCHEMA work;
GRANT ALL ON SCHEMA work TO PUBLIC;
SET search_path = work;
CREATE VIEW recorded AS SELECT refobjid::regrole AS role, deptype FROM pg_shdepend
WHERE classid = 'pg_class'::regclass AND objid = 'docstore.collection'::regclass AND deptype = 'a' ORDER BY 1;

SET ROLE docstore_ada;
SELECT docstore.create_collection('diary'), docstore.create_collection('letters', create_table => false);
INSERT INTO diary VALUES ('1', '{"dear": "diary"}');
RESET ROLE;
SELECT * FROM recorded;

-- Given to somebody else: by its owner, to roles that he is a member of.  Foreign tables keep their owners.
SET ROLE docstore_ada;
SELECT docstore.set_owner('letters', 'docstore_bob');
RESET ROLE;
GRANT docstore_bob TO docstore_ada;
SET ROLE docstore_eve;
SELECT docstore.set_owner('letters', 'docstore_eve');
SET ROLE docstore_ada;
SELECT docstore.set_owner('letters', 'docstore_bob');
SELECT docstore.set_owner('nothing', 'docstore_bob');
SELECT docstore.set_owner('letters', 0);
SELECT name, owner FROM docstore.collections ORDER BY name;
RESET ROLE;
SELECT * FROM recorded;
REVOKE docstore_bob FROM docstore_ada;
-- A rollback takes the record back with the rest.
BEGIN;
SELECT docstore.set_owner('diary', 'docstore_bob');
SELECT * FROM recorded;
ROLLBACK;
SELECT * FROM recorded;
-- The new owner's table, and the old owner's.
SELECT docstore.set_owner('diary', 'docstore_bob');
SET ROLE docstore_ada;
SELECT * FROM diary;
RESET ROLE;
ALTER FOREIGN TABLE diary OWNER TO docstore_bob;
SET ROLE docstore_bob;
SELECT id, doc FROM diary;
RESET ROLE;
SELECT docstore.set_owner('diary', 'docstore_ada');
ALTER FOREIGN TABLE diary OWNER TO docstore_ada;

-- A role that owns collections is not dropped, whether or not it has foreign tables.
DROP ROLE docstore_bob;
DROP ROLE docstore_ada;

-- REASSIGN OWNED takes collections and foreign tables along.
REASSIGN OWNED BY docstore_ada TO docstore_eve;
SELECT name, owner FROM docstore.collections ORDER BY name;
SET ROLE docstore_eve;
SELECT id, doc FROM diary;
RESET ROLE;
DROP ROLE docstore_ada;
SELECT * FROM recorded;

-- DROP OWNED drops them with their documents; with RESTRICT only if nobody else has a table over them.
CREATE FOREIGN TABLE letters_of_all (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'letters');
INSERT INTO letters_of_all VALUES ('a', '{}');
SET ROLE docstore_bob;
DROP OWNED BY docstore_bob;
SELECT name, owner FROM docstore.collections ORDER BY name;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP OWNED BY docstore_bob CASCADE;
SELECT name, owner FROM docstore.collections ORDER BY name;
ROLLBACK;
RESET ROLE;
-- (nor by who may drop that table)
DROP OWNED BY docstore_bob;
SELECT id FROM letters_of_all;
-- (of one's own: views over one's tables are in nobody's way)
SET ROLE docstore_eve;
CREATE VIEW dear AS SELECT doc->'dear' AS dear FROM diary;
DROP OWNED BY docstore_eve;
DROP OWNED BY docstore_bob;
REASSIGN OWNED BY docstore_bob TO docstore_eve;
RESET ROLE;
SELECT name, owner FROM docstore.collections ORDER BY name;
SELECT * FROM recorded;
DROP ROLE docstore_eve;
SET client_min_messages = warning;
DROP OWNED BY docstore_bob CASCADE;
RESET client_min_messages;
SELECT count(*) FROM docstore.collections;
SELECT * FROM recorded;
DROP ROLE docstore_bob;

-- Roles with privileges for the catalog, granted by a superuser, are another thing.
CREATE ROLE docstore_ada;
GRANT SELECT ON docstore.collection TO docstore_ada;
SET ROLE docstore_ada;
SELECT docstore.create_collection('diary');
SELECT docstore.drop_collection('diary');
RESET ROLE;
SELECT * FROM recorded;
DROP ROLE docstore_ada;
REVOKE SELECT ON docstore.collection FROM docstore_ada;
SELECT * FROM recorded;

-- The catalog changed by a superuser's SQL counts, too.
SELECT docstore.create_collection('diary', create_table => false);
UPDATE docstore.collection SET owner = 'docstore_ada' WHERE name = 'diary';
SELECT * FROM recorded;
DROP ROLE docstore_ada;
SELECT docstore.drop_collection('diary');
DROP ROLE docstore_ada;

-- No trace is left by DROP EXTENSION.
CREATE ROLE docstore_ada;
SET ROLE docstore_ada;
SELECT docstore.create_collection('diary');
RESET ROLE;
SET client_min_messages = warning;
DROP EXTENSION docstore CASCADE;
DROP ROLE docstore_ada;
CREATE EXTENSION docstore;
DROP SCHEMA work CASCADE;
