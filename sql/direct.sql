-- UPDATE and DELETE that the scan does itself ("Foreign Update", "Foreign Delete"), and those that it cannot do.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT docstore.create_collection('stock');
CREATE FOREIGN TABLE items (id text COLLATE "C", n int CHECK (n < 1000), name text, size numeric OPTIONS (path 'dim.size'), placed date)
SERVER docstore OPTIONS (collection 'stock');
INSERT INTO items (id, n, name, size) SELECT 'i' || i, i, 'n' || i, i / 2.0 FROM generate_series(1, 9) i;

-- By id, of a range, of all; what is set, and nothing else.
EXPLAIN (VERBOSE, COSTS OFF) UPDATE stock SET doc = doc || '{"seen": true}' WHERE id = 'i1';
UPDATE stock SET doc = doc || '{"seen": true}' WHERE id = 'i1' RETURNING id, doc;
EXPLAIN (VERBOSE, COSTS OFF) UPDATE items SET n = n + 10, size = NULL WHERE id > 'i6' AND name <> 'n8' RETURNING id, n, name, size;
UPDATE items SET n = n + 10, size = NULL WHERE id > 'i6' AND name <> 'n8' RETURNING id, n, name, size;
SELECT id, doc FROM stock WHERE id > 'i6' ORDER BY id;
UPDATE items SET size = 1;
SELECT count(*) FROM items WHERE size = 1;
EXPLAIN (VERBOSE, COSTS OFF) DELETE FROM items WHERE id LIKE 'i2%' RETURNING *;
DELETE FROM items WHERE id LIKE 'i2%' RETURNING *;
DELETE FROM items WHERE n > 500;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) UPDATE stock SET doc = doc WHERE id < 'i4' AND doc->>'name' <> 'n3';
-- The id, too: to one that is free.
UPDATE items SET id = 'j' || substr(id, 2), n = 0 WHERE id = 'i3' RETURNING *;
UPDATE items SET id = 'i4' WHERE id = 'j3';
UPDATE items SET id = NULL WHERE id = 'j3';
UPDATE items SET id = id || '/x';
SELECT id FROM items ORDER BY id;
UPDATE items SET id = left(id, -2);

-- Constraints, and what the store sets.
UPDATE items SET n = 1000 WHERE id = 'i4';
UPDATE stock SET doc = NULL WHERE id = 'i4';
UPDATE stock SET etag = 1 WHERE id = 'i4';
UPDATE items SET n = n / 0 WHERE id = 'i4';
UPDATE items SET n = n / 0 WHERE id = 'nothing';

-- What a column held before is not looked at, unless somebody wants to see the row, or test it.
CREATE FOREIGN TABLE loose (id text COLLATE "C", n int, placed date, size numeric OPTIONS (path 'dim.size')) SERVER docstore OPTIONS (collection 'stock');
INSERT INTO stock VALUES ('k', '{"n": "many", "dim": 1, "placed": "soon"}');
UPDATE items SET n = 1 WHERE id = 'k';
UPDATE loose SET n = 1 WHERE id = 'k' RETURNING id, n;
UPDATE loose SET n = 1 WHERE id = 'k';
UPDATE loose SET size = 1 WHERE id = 'k';
UPDATE loose SET placed = '2024-02-29' WHERE id = 'k' RETURNING id, n, placed;
UPDATE loose SET placed = '2024-02-29', size = NULL WHERE id = 'k' RETURNING id, n, placed;
SELECT doc FROM stock WHERE id = 'k';
DELETE FROM loose WHERE id = 'k';

-- New values are made once for each document; the command does not see its own writes.
CREATE SEQUENCE ticks;
UPDATE items SET n = nextval('ticks') WHERE id >= 'i4' RETURNING id, n;
SELECT last_value FROM ticks;
UPDATE items SET id = id || '0' WHERE id > 'i';
SELECT count(*) FROM items;
-- As part of another statement; counted once.
WITH changed AS (UPDATE items SET name = 'x' WHERE id < 'i5' RETURNING id), gone AS (DELETE FROM items WHERE id = 'i50')
SELECT * FROM changed ORDER BY id;
SELECT id, name FROM items ORDER BY id;
DO $$
DECLARE
	n int;
BEGIN
	UPDATE items SET name = 'y' WHERE id > 'i5';
	GET DIAGNOSTICS n = ROW_COUNT;
	RAISE NOTICE '% changed', n;
	WITH u AS (UPDATE items SET name = 'z' WHERE id > 'i7') DELETE FROM items WHERE id = 'i60';
	GET DIAGNOSTICS n = ROW_COUNT;
	RAISE NOTICE '% deleted', n;
END $$;
-- A plan that is kept; savepoints.
PREPARE add(text, int) AS UPDATE items SET n = n + $2 WHERE id = $1 RETURNING n;
SET plan_cache_mode = force_generic_plan;
BEGIN;
EXECUTE add('i70', 100);
SAVEPOINT s;
EXECUTE add('i70', 100);
ROLLBACK TO s;
EXECUTE add('i70', 1);
COMMIT;
EXECUTE add('nothing', 1);
RESET plan_cache_mode;
UPDATE items SET n = (SELECT 5) WHERE id = (SELECT max(id) FROM items WHERE n > 100) RETURNING id, n;

-- Many are written together: all or none, each once.
INSERT INTO items (id, n) SELECT 'm' || lpad(i::text, 4, '0'), i FROM generate_series(1, 300) i;
DO $$
DECLARE
	n int;
BEGIN
	UPDATE items SET n = items.n + 1000 - 301 WHERE id LIKE 'm%';
	GET DIAGNOSTICS n = ROW_COUNT;
	RAISE NOTICE '% changed', n;
	DELETE FROM items WHERE id LIKE 'm%' AND items.n % 3 = 0;
	GET DIAGNOSTICS n = ROW_COUNT;
	RAISE NOTICE '% deleted', n;
END $$;
SELECT count(*), sum(n), min(n), max(n) FROM items WHERE id LIKE 'm%';
SELECT count(DISTINCT etag) FROM stock WHERE id LIKE 'm%';
UPDATE items SET n = n + 10 WHERE id LIKE 'm%';
SELECT sum(n) FROM items WHERE id LIKE 'm%';
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) UPDATE items SET name = 'many' WHERE id LIKE 'm%';
BEGIN;
UPDATE items SET n = 1 WHERE id LIKE 'm%';
SAVEPOINT s;
UPDATE items SET n = 2 WHERE id LIKE 'm%';
DELETE FROM items WHERE id LIKE 'm%';
ROLLBACK TO s;
UPDATE items SET n = n + 5 WHERE id LIKE 'm%';
SELECT count(*), sum(n) FROM items WHERE id LIKE 'm%';
ROLLBACK;
SELECT sum(n) FROM items WHERE id LIKE 'm%';
-- ... but one by one where a function might look for them.
CREATE FUNCTION ones() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT count(*) FROM items WHERE n = 1 $$;
UPDATE items SET n = 1 WHERE id LIKE 'm%' AND ones() < 3;
SELECT count(*) FROM items WHERE n = 1 AND id LIKE 'm%';
ALTER FOREIGN TABLE items OPTIONS (ADD batch_size '1');
UPDATE items SET n = 2 WHERE id LIKE 'm%';
ALTER FOREIGN TABLE items OPTIONS (DROP batch_size);
SELECT count(*), sum(n) FROM items WHERE id LIKE 'm%';
DELETE FROM items WHERE id LIKE 'm%';
DROP FUNCTION ones;

-- Through a view, and of a partition.
CREATE VIEW small AS SELECT * FROM items WHERE n < 10;
EXPLAIN (COSTS OFF) UPDATE small SET n = n + 1 WHERE id = 'i80';
UPDATE small SET n = n + 1 WHERE id = 'i80' RETURNING id, n;
SELECT docstore.create_collection('parts', false);
CREATE TABLE whole (n int, id text COLLATE "C", name text) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE part_a (id text COLLATE "C", name text, n int) SERVER docstore OPTIONS (collection 'parts');
ALTER TABLE whole ATTACH PARTITION part_a FOR VALUES FROM ('a') TO ('m');
CREATE TABLE part_m PARTITION OF whole FOR VALUES FROM ('m') TO ('z');
INSERT INTO whole SELECT i, chr(96 + i), 'w' FROM generate_series(1, 20) i;
EXPLAIN (COSTS OFF) UPDATE whole SET n = n * 2, name = id WHERE id = 'c';
UPDATE whole SET n = n * 2, name = id WHERE id = 'c' RETURNING *, tableoid::regclass;
UPDATE whole SET id = 'x' WHERE id = 'c';
DELETE FROM whole WHERE id < 'c' RETURNING *;
-- More than one table is the executor's work, and so are subqueries, row triggers, generated columns and check options.
EXPLAIN (COSTS OFF) DELETE FROM whole WHERE n > 3;
DELETE FROM whole WHERE n > 3;
SELECT * FROM whole;
EXPLAIN (COSTS OFF) UPDATE items SET n = w.n FROM whole w WHERE w.id = items.id;
EXPLAIN (COSTS OFF) UPDATE items SET n = (SELECT max(w.n) FROM whole w WHERE w.id = items.id);
EXPLAIN (COSTS OFF) UPDATE items SET (n, name) = (SELECT i.n + 1, i.name || '!' FROM items i WHERE i.id = items.id);
BEGIN;
UPDATE items SET (n, name) = (SELECT i.n + 1, i.name || '!' FROM items i WHERE i.id = items.id) RETURNING id, n, name;
UPDATE items SET (n, name) = (SELECT 3, 'three') WHERE id = 'i80' RETURNING id, n, name;
UPDATE items SET (n, name) = (SELECT 4, 'four'), size = 4 WHERE id > 'i5';
SELECT id, doc FROM stock ORDER BY id;
ROLLBACK;
CREATE VIEW strict AS SELECT * FROM items WHERE n < 10 WITH CHECK OPTION;
EXPLAIN (COSTS OFF) UPDATE strict SET n = 11 WHERE id = 'i80';
UPDATE strict SET n = 11 WHERE id = 'i80';
CREATE FUNCTION speak() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% of %', TG_OP, TG_TABLE_NAME; RETURN NEW; END $$;
CREATE TRIGGER speak AFTER UPDATE ON items FOR EACH STATEMENT EXECUTE FUNCTION speak();
EXPLAIN (COSTS OFF) UPDATE items SET n = 1 WHERE id = 'i80';
UPDATE items SET n = 1 WHERE id = 'i80';
CREATE TRIGGER speak_up AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION speak();
EXPLAIN (COSTS OFF) UPDATE items SET n = 1 WHERE id = 'i80';
UPDATE items SET n = 1 WHERE id = 'i80';

SET client_min_messages = warning;
DROP TABLE whole;
SELECT docstore.drop_collection('stock', true), docstore.drop_collection('parts', true);
DROP SEQUENCE ticks;
DROP FUNCTION speak;
