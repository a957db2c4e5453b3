-- A replication that cannot work is refused when it is stored, with the place of the fault.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
SELECT docstore.create_collection('orders');
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id text PRIMARY KEY, customer text, total numeric, twice numeric GENERATED ALWAYS AS (total * 2) STORED);
CREATE TABLE shop.lines (id text REFERENCES shop.orders, line int NOT NULL);
CREATE TABLE shop.numbered (id text PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY);
CREATE VIEW shop.view AS SELECT * FROM shop.orders;

-- JSON
INSERT INTO docstore.replications (name, definition) VALUES ('r', '[]');
INSERT INTO docstore.replications (name, definition) VALUES ('r', '{"collections": ["orders"]}');
INSERT INTO docstore.replications (name, definition) VALUES ('r', '{"collections": ["orders"], "tables": [], "on_error": "skip"}');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs", "mode": "mix"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs", "if": 1}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"}]', 'go');
SELECT docstore.create_replication('', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"}]');

-- the select
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT o.total FROM shop.orders AS o"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT random() AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT id, 1 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS sum FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT now_ AS total FROM (SELECT doc->>''x'' AS now_ FROM docs) AS s"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS twice FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.numbered", "key": "id", "select": "SELECT 1 AS n FROM docs"}]');

-- the table
SELECT docstore.create_replication('r', '{orders}', '[{"table": "orders", "key": "id", "select": "SELECT 1 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.nothing", "key": "id", "select": "SELECT 1 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.view", "key": "id", "select": "SELECT 1 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "public.orders", "key": "id", "select": "SELECT doc AS doc FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "docstore.views", "key": "name", "select": "SELECT doc::json AS definition FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "pg_catalog.pg_description", "key": "description", "select": "SELECT 0::oid AS objoid FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "nr", "select": "SELECT 1 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "total", "select": "SELECT ''c'' AS customer FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.lines", "key": "id", "select": "SELECT 1 AS line FROM docs", "mode": "merge"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.lines", "key": "id", "select": "SELECT 1 AS line FROM docs", "mode": "merge", "match": ["nr"]}]');

-- all of them together
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.lines", "key": "id", "select": "SELECT 1 AS line FROM docs"},
	{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"},
	{"table": "shop.lines", "key": "id", "select": "SELECT 1 AS line FROM docs", "mode": "merge", "match": ["line"]}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"},
	{"table": "shop.orders", "key": "id", "select": "SELECT 2 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{orders,nowhere}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"}]');
SELECT docstore.create_replication('r', '{nowhere}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"}]');
-- A missing index is a warning.
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.orders", "key": "id", "select": "SELECT 1 AS total FROM docs"},
	{"table": "shop.lines", "key": "id", "select": "SELECT 1 AS line FROM docs"}]');
-- A table has one replication.
SELECT docstore.create_replication('s', '{orders}', '[{"table": "shop.lines", "key": "id", "select": "SELECT 1 AS line FROM docs"}]');
SELECT docstore.create_replication('r', '{orders}', '[{"table": "shop.lines", "key": "id", "select": "SELECT 1 AS line FROM docs"}]');
UPDATE docstore.replications SET name = 's';
TRUNCATE docstore.replications;
SELECT docstore.replace_replication('s', '{orders}', '[]');
SELECT docstore.pause_replication('s');
SELECT docstore.wait_for_replication('s');

-- Rights: the owner of the collection, who may write the tables.
CREATE ROLE docstore_repl_a;
CREATE ROLE docstore_repl_b;
GRANT USAGE ON SCHEMA shop TO docstore_repl_a, docstore_repl_b;
CREATE TABLE shop.mine (id text PRIMARY KEY, n int);
SET ROLE docstore_repl_a;
SELECT docstore.create_replication('mine', '{orders}', '[{"table": "shop.mine", "key": "id", "select": "SELECT 1 AS n FROM docs"}]');
SELECT docstore.pause_replication('r');
DELETE FROM docstore.replications;
RESET ROLE;
GRANT CREATE ON SCHEMA public TO docstore_repl_a;
SET ROLE docstore_repl_a;
SELECT docstore.create_collection('own');
SELECT docstore.create_replication('mine', '{own}', '[{"table": "shop.mine", "key": "id", "select": "SELECT 1 AS n FROM docs"}]');
RESET ROLE;
GRANT INSERT, SELECT, DELETE ON shop.mine TO docstore_repl_a;
-- That others replicate into a schema to which a role has no right is nothing to it.
CREATE SCHEMA office;
CREATE TABLE office.papers (id text PRIMARY KEY, n int);
SELECT docstore.create_replication('office', '{orders}', '[{"table": "office.papers", "key": "id", "select": "SELECT 1 AS n FROM docs"}]');
SET ROLE docstore_repl_a;
SELECT docstore.create_replication('mine', '{own}', '[{"table": "shop.mine", "key": "id", "select": "SELECT (doc->>''n'')::int AS n FROM docs"}]');
INSERT INTO own VALUES ('a', '{"n": 1}');
SELECT docstore.wait_for_replication('mine');
RESET ROLE;
SELECT docstore.drop_replication('office');
DROP TABLE office.papers;
DROP SCHEMA office;
SELECT * FROM shop.mine;
-- Without the right it stops, and goes on when it is back.
REVOKE INSERT ON shop.mine FROM docstore_repl_a;
INSERT INTO own VALUES ('b', '{"n": 2}');
DO $$ BEGIN
	WHILE (SELECT state FROM docstore.replication_status WHERE name = 'mine') <> 'stopped' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT sqlstate, reason FROM docstore.replication_status WHERE name = 'mine';
GRANT INSERT ON shop.mine TO docstore_repl_a;
DO $$ BEGIN
	WHILE (SELECT state FROM docstore.replication_status WHERE name = 'mine') <> 'following' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT docstore.wait_for_replication('mine');
SELECT * FROM shop.mine ORDER BY 1;
-- A trigger runs as the replication's owner, a deferred one as well.
CREATE TABLE shop.who (name text);
GRANT INSERT ON shop.who TO docstore_repl_a;
CREATE FUNCTION shop.who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shop.who VALUES (current_user); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER who AFTER INSERT ON shop.mine DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.who();
INSERT INTO own VALUES ('c', '{"n": 3}');
SELECT docstore.wait_for_replication('mine');
SELECT * FROM shop.who;
-- Errors may quote documents: others do not see them.
INSERT INTO own VALUES ('d', '{"n": "secret"}');
SELECT docstore.wait_for_replication('mine');
SELECT id, message FROM docstore.replication_errors;
SET ROLE docstore_repl_b;
SELECT id, message FROM docstore.replication_errors;
RESET ROLE;
-- Roles that own replications
GRANT INSERT, SELECT, DELETE ON shop.mine TO docstore_repl_b;
GRANT INSERT ON shop.who TO docstore_repl_b;
REASSIGN OWNED BY docstore_repl_a TO docstore_repl_b;
INSERT INTO own VALUES ('e', '{"n": 5}');
SELECT docstore.wait_for_replication('mine');
SELECT * FROM shop.who ORDER BY 1;
SELECT name, owner FROM docstore.replications ORDER BY 1;
DROP OWNED BY docstore_repl_b;
DROP OWNED BY docstore_repl_a;
SELECT name, owner FROM docstore.replications ORDER BY 1;
DROP ROLE docstore_repl_a, docstore_repl_b;
SELECT docstore.drop_collection('orders', cascade => true);
DROP SCHEMA shop CASCADE;
