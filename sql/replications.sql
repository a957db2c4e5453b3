-- SQL replication: documents become rows of ordinary tables, deleted documents lose theirs.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
SELECT docstore.create_collection('orders');
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id text PRIMARY KEY, customer text, total numeric(10, 2) CHECK (total >= 0));
CREATE TABLE shop.lines (order_id text REFERENCES shop.orders, line int, sku text, qty int, PRIMARY KEY (order_id, line));
INSERT INTO orders VALUES
	('o/1', '{"customer": "ann", "total": 3, "lines": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 1}]}'),
	('o/2', '{"customer": "bob", "total": 4.5, "lines": [{"sku": "a", "qty": 3}]}'),
	('o/3', '{"customer": "cid", "total": 0, "lines": []}');
CREATE VIEW shop.failed AS SELECT replication, id, deleted, "table", sqlstate, message FROM docstore.replication_errors ORDER BY 1, 2;

-- What is there comes first, in the order of the tables.
SELECT docstore.create_replication('shop', '{orders}', $$ [
	{"table": "shop.orders", "key": "order_id",
	 "select": "SELECT doc->>'customer' AS customer, (doc->>'total')::numeric AS total FROM docs"},
	{"table": "shop.lines", "key": "order_id",
	 "select": "SELECT n::int AS line, l->>'sku' AS sku, (l->>'qty')::int AS qty FROM docs, jsonb_array_elements(doc->'lines') WITH ORDINALITY AS x(l, n)"}
] $$);
SELECT docstore.wait_for_replication('shop');
SELECT * FROM shop.orders ORDER BY 1;
SELECT * FROM shop.lines ORDER BY 1, 2;

-- Changes and deletions follow.  What yields no rows any more loses those it had.
UPDATE orders SET doc = jsonb_set(doc, '{lines}', '[{"sku": "c", "qty": 9}]') WHERE id = 'o/1';
UPDATE orders SET doc = jsonb_set(doc, '{lines}', '[]') WHERE id = 'o/2';
DELETE FROM orders WHERE id = 'o/3';
INSERT INTO orders VALUES ('o/4', '{"customer": "dee", "total": 1}');
DELETE FROM orders WHERE id = 'o/4';
INSERT INTO orders VALUES ('o/4', '{"customer": "eve", "total": 2}');
BEGIN;
INSERT INTO orders VALUES ('o/5', '{"customer": "never"}');
ROLLBACK;
SELECT docstore.wait_for_replication('shop');
SELECT * FROM shop.orders ORDER BY 1;
SELECT * FROM shop.lines ORDER BY 1, 2;

-- What would another definition do with a document?
SELECT v.id, p.* FROM (VALUES ('o/1'), ('o/4'), ('none')) AS v (id), docstore.preview_replication($$ {"collections": ["orders"], "tables": [
	{"table": "shop.orders", "key": "order_id", "select": "SELECT upper(doc->>'customer') AS customer, (doc->>'total')::numeric - 3 AS total FROM docs"},
	{"table": "shop.lines", "key": "order_id", "select": "SELECT 1 AS line, 'c' AS sku, 9 AS qty FROM docs UNION ALL SELECT 2, 'd', 1 FROM docs"}
]} $$, v.id) AS p;
SELECT * FROM shop.orders ORDER BY 1;

-- A document that a table refuses is left out of all tables and listed; the rows of its last good version stay.
UPDATE orders SET doc = '{"customer": "ann", "total": -1}' WHERE id = 'o/1';
INSERT INTO orders VALUES
	('o/6', '{"customer": "fay", "total": 6, "lines": [{"sku": "x", "qty": "many"}]}'),
	('o/7', '{"customer": "gus", "total": 7}');
SELECT docstore.wait_for_replication('shop');
SELECT * FROM shop.failed;
SELECT * FROM shop.orders ORDER BY 1;
SELECT * FROM shop.lines ORDER BY 1, 2;

-- A later version replaces the failed one; so does a deletion.
UPDATE orders SET doc = '{"customer": "ann", "total": 1}' WHERE id = 'o/1';
DELETE FROM orders WHERE id = 'o/6';
SELECT docstore.wait_for_replication('shop');
SELECT * FROM shop.failed;
SELECT * FROM shop.orders ORDER BY 1;

-- A deletion can be refused, too.
CREATE TABLE shop.paid (order_id text REFERENCES shop.orders);
INSERT INTO shop.paid VALUES ('o/7');
DELETE FROM orders WHERE id = 'o/7';
SELECT docstore.wait_for_replication('shop');
SELECT * FROM shop.failed;
DROP TABLE shop.paid;
SELECT docstore.retry_replication('shop', 'o/8'), docstore.retry_replication('shop', 'o/7');
DO $$ BEGIN
	WHILE EXISTS (SELECT FROM docstore.replication_errors) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT * FROM shop.orders ORDER BY 1;

-- With on_error "stop" nothing goes past such a document.
SELECT docstore.replace_replication('shop', '{orders}', definition->'tables', 'stop') FROM docstore.replications WHERE name = 'shop';
INSERT INTO orders VALUES ('o/8', '{"customer": "hal", "total": 8}');
SELECT docstore.wait_for_replication('shop');
INSERT INTO orders VALUES ('p/1', '{"total": 1}'), ('p/2', '{"total": -2}'), ('p/3', '{"total": 3}');
DO $$ BEGIN
	WHILE (SELECT count(*) FROM shop.orders WHERE order_id LIKE 'p/%') < 1 OR (SELECT state FROM docstore.replication_status) <> 'stopped' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT * FROM shop.orders WHERE order_id LIKE 'p/%' ORDER BY 1;
SELECT state, sqlstate, reason FROM docstore.replication_status;
SELECT docstore.wait_for_replication('shop');
DELETE FROM orders WHERE id = 'p/2';
DO $$ BEGIN
	WHILE (SELECT state FROM docstore.replication_status) <> 'following' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT docstore.wait_for_replication('shop');
SELECT * FROM shop.orders WHERE order_id LIKE 'p/%' ORDER BY 1;

-- Paused, it keeps its position.  TRUNCATE takes all rows away.
SELECT docstore.pause_replication('shop');
TRUNCATE orders;
INSERT INTO orders VALUES ('q/1', '{"total": 1}');
SELECT docstore.wait_for_replication('shop');
SELECT count(*) FROM shop.orders;
-- It is seen how far it is behind.
INSERT INTO orders SELECT 'late/' || g, jsonb_build_object('total', g) FROM generate_series(1, 50) AS g;
DELETE FROM orders WHERE id LIKE 'late/%' AND id NOT LIKE '%5';
SELECT state, changes_behind, time_behind > '0' AS time FROM docstore.replication_status;
SELECT kind, changes_behind, estimated_bytes >= 0 AS bytes FROM docstore.consumers WHERE name = 'shop';
SELECT docstore.resume_replication('shop');
SELECT docstore.wait_for_replication('shop');
SELECT order_id, total FROM shop.orders ORDER BY 1;
SELECT state, changes_behind, etags_per_second > 0 AS rate FROM docstore.replication_status;
DELETE FROM orders WHERE id LIKE 'late/%';
SELECT docstore.wait_for_replication('shop');

-- Rows that somebody else took away come back with a reset.
DELETE FROM shop.orders;
SELECT docstore.reset_replication('shop');
SELECT docstore.wait_for_replication('shop');
SELECT * FROM shop.orders ORDER BY 1;

-- Dropping leaves the rows, or not.
SELECT docstore.drop_replication('shop');
SELECT count(*) FROM shop.orders;
SELECT name FROM docstore.replications;
SELECT docstore.drop_replication('shop');

-- merge touches only the rows that differ.
CREATE TABLE shop.touched (what text, line int);
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO shop.touched VALUES (TG_OP, coalesce(NEW.line, OLD.line));
	RETURN NULL;
END $$;
CREATE TABLE shop.merged (order_id text, line int, price numeric(8, 2), size char(4), tags jsonb, PRIMARY KEY (order_id, line));
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON shop.merged FOR EACH ROW EXECUTE FUNCTION shop.touch();
SELECT docstore.create_replication('merged', '{orders}', $$ [
	{"table": "shop.merged", "key": "order_id", "mode": "merge",
	 "select": "SELECT (l->>'n')::int AS line, (l->>'price')::numeric AS price, l->>'size' AS size, l->'tags' AS tags FROM docs, jsonb_array_elements(doc->'lines') AS l"}
] $$);
INSERT INTO orders VALUES ('m', '{"lines": [{"n": 1, "price": 1.234, "size": "s", "tags": [1]}, {"n": 2, "price": 2}, {"n": 3}]}');
SELECT docstore.wait_for_replication('merged');
SELECT * FROM shop.merged ORDER BY 1, 2;
TRUNCATE shop.touched;
UPDATE orders SET doc = '{"lines": [{"n": 3}, {"n": 1, "price": 1.229, "size": "s", "tags": [1]}, {"n": 2, "price": 2, "size": "xl"}, {"n": 4}]}' WHERE id = 'm';
SELECT docstore.wait_for_replication('merged');
SELECT * FROM shop.touched ORDER BY 1, 2;
TRUNCATE shop.touched;
UPDATE orders SET doc = '{"lines": [{"n": 1, "price": 1.230, "size": "s", "tags": [1]}]}' WHERE id = 'm';
SELECT docstore.wait_for_replication('merged');
SELECT * FROM shop.touched ORDER BY 1, 2;
SELECT * FROM shop.merged ORDER BY 1, 2;
-- Rows that cannot be told apart are an error, as are values that do not fit.
UPDATE orders SET doc = '{"lines": [{"n": 1}, {"n": 1}]}' WHERE id = 'm';
INSERT INTO orders VALUES ('m2', '{"lines": [{"n": 1, "size": "large"}]}');
SELECT docstore.wait_for_replication('merged');
SELECT * FROM shop.failed;
SELECT docstore.drop_replication('merged', remove_rows => true);
SELECT count(*) FROM shop.merged;
TRUNCATE orders;

-- Several collections: a column says which.  Deferrable keys may refer to what comes later.
SELECT docstore.create_collection('returns');
CREATE TABLE shop.parts (id text, source text, part int);
CREATE INDEX ON shop.parts (id);
CREATE TABLE shop.things (id text, source text, PRIMARY KEY (id, source), parts text);
ALTER TABLE shop.parts ADD FOREIGN KEY (id, source) REFERENCES shop.things DEFERRABLE;
SELECT docstore.create_replication('both', '{returns,orders}', $$ [
	{"table": "shop.parts", "key": "id", "collection": "source", "select": "SELECT p::int AS part FROM docs, jsonb_array_elements(doc) AS p"},
	{"table": "shop.things", "key": "id", "collection": "source", "select": "SELECT doc::text AS parts FROM docs"}
] $$);
INSERT INTO orders VALUES ('x', '[1, 2]'), ('y', '[3]');
INSERT INTO returns VALUES ('x', '[4]'), ('z', '[]');
SELECT docstore.wait_for_replication('both');
SELECT * FROM shop.parts ORDER BY 1, 2, 3;
SELECT * FROM shop.things ORDER BY 1, 2;
DELETE FROM returns WHERE id = 'x';
TRUNCATE returns;
INSERT INTO returns VALUES ('y', '[5]');
SELECT docstore.wait_for_replication('both');
SELECT * FROM shop.things ORDER BY 1, 2;
-- Of a collection that leaves, rows are deleted; one that comes is read whole, and then followed.
INSERT INTO returns VALUES ('x', '[6]');
SELECT docstore.wait_for_replication('both');
SELECT docstore.replace_replication('both', '{orders}', definition->'tables') FROM docstore.replications;
SELECT * FROM shop.things ORDER BY 1, 2;
INSERT INTO returns VALUES ('w', '[7, 8]');
DELETE FROM orders WHERE id = 'y';
SELECT docstore.replace_replication('both', '{returns,orders}', definition->'tables') FROM docstore.replications;
SELECT docstore.wait_for_replication('both');
INSERT INTO returns VALUES ('v', '[9]');
SELECT docstore.wait_for_replication('both');
SELECT * FROM shop.things ORDER BY 1, 2;
SELECT * FROM shop.parts ORDER BY 1, 2, 3;
SELECT name, kind, collections, changes_behind FROM docstore.consumers ORDER BY 1;
BEGIN;
SELECT docstore.replace_replication('both', '{returns}', definition->'tables') FROM docstore.replications;
ROLLBACK;
SELECT count(*) FROM shop.things;
-- That needs a column that says whose a row is.
CREATE TABLE shop.plain (id text PRIMARY KEY, doc text);
SELECT docstore.create_replication('plain', '{orders}', '[{"table": "shop.plain", "key": "id", "select": "SELECT doc::text AS doc FROM docs"}]');
SELECT docstore.wait_for_replication('plain');
SELECT docstore.replace_replication('plain', '{returns,orders}', definition->'tables') FROM docstore.replications WHERE name = 'plain';
ALTER TABLE shop.plain ADD source text;
SELECT docstore.replace_replication('plain', '{returns,orders}', '[{"table": "shop.plain", "key": "id", "collection": "source", "select": "SELECT doc::text AS doc FROM docs"}]');
-- Another collection in place of the first takes its rows' place.
SELECT docstore.replace_replication('plain', '{returns}', definition->'tables') FROM docstore.replications WHERE name = 'plain';
SELECT docstore.wait_for_replication('plain');
SELECT id, doc FROM shop.plain ORDER BY 1;

-- Without a column, or the table, it stops with the reason, and goes on when that is mended: no document is passed over.
ALTER TABLE shop.plain RENAME doc TO text;
INSERT INTO returns VALUES ('u', '[10]');
DO $$ BEGIN
	WHILE (SELECT state FROM docstore.replication_status WHERE name = 'plain') <> 'stopped' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT sqlstate, errors FROM docstore.replication_status WHERE name = 'plain';
ALTER TABLE shop.plain RENAME text TO doc;
SELECT docstore.resume_replication('plain');
SELECT docstore.wait_for_replication('plain');
ALTER TABLE shop.plain RENAME TO elsewhere;
DELETE FROM returns WHERE id = 'u';
DO $$ BEGIN
	WHILE (SELECT state FROM docstore.replication_status WHERE name = 'plain') <> 'stopped' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT sqlstate, reason, errors FROM docstore.replication_status WHERE name = 'plain';
ALTER TABLE shop.elsewhere RENAME TO plain;
SELECT docstore.resume_replication('plain');
SELECT docstore.wait_for_replication('plain');
SELECT id, doc FROM shop.plain ORDER BY 1;
SELECT docstore.drop_replication('plain', remove_rows => true);
SELECT count(*) FROM shop.plain;
SELECT docstore.drop_collection('returns');
SELECT docstore.drop_collection('returns', cascade => true);
SELECT name FROM docstore.replications;
SELECT docstore.drop_collection('orders', cascade => true);
DROP SCHEMA shop CASCADE;
