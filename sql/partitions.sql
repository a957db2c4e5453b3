-- Collections as partitions beside tables, and documents as the other side of joins, MERGE and subqueries that change or
-- lock rows.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('early', false);
SELECT docstore.create_collection('late', false);
CREATE TABLE parts (id text COLLATE "C", doc jsonb) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE early PARTITION OF parts FOR VALUES FROM ('a') TO ('m') SERVER docstore OPTIONS (collection 'early');
CREATE FOREIGN TABLE late PARTITION OF parts FOR VALUES FROM ('m') TO ('t') SERVER docstore OPTIONS (collection 'late');
CREATE TABLE rest PARTITION OF parts FOR VALUES FROM ('t') TO ('zzz');
INSERT INTO parts SELECT c || i, to_jsonb(i) FROM unnest('{a,b,m,n,t,u}'::text[]) AS c, generate_series(1, 3) AS i;

-- Each row is locked where it lies.
SELECT tableoid::regclass, id, doc FROM parts WHERE doc::int >= 2 ORDER BY doc, id FOR UPDATE;
SELECT id FROM parts ORDER BY doc DESC, id LIMIT 2 FOR SHARE SKIP LOCKED;
UPDATE parts SET doc = to_jsonb(doc::int * 10) WHERE doc::int > 2 RETURNING tableoid::regclass, id, doc;
DELETE FROM parts WHERE id LIKE '%1' RETURNING id;
-- A document does not leave its partition by an UPDATE; within it the id may change.
UPDATE parts SET id = 'z' || id WHERE id = 'a2';
UPDATE early SET id = 'z' || id WHERE id = 'a2';
UPDATE parts SET id = 'a' || id WHERE id = 'a2' RETURNING *;
SELECT * FROM parts ORDER BY id;
-- Out of a table it may go into a collection, if that has no such id; the table's row stays if it cannot.
UPDATE parts SET id = 'c' || id WHERE id = 't2' RETURNING tableoid::regclass, id, doc;
SELECT tableoid::regclass, id, doc FROM parts WHERE id > 'c' AND id < 'd' OR id LIKE 't%' ORDER BY id;
UPDATE parts SET id = 'n2' WHERE id = 't3';
BEGIN;
UPDATE parts SET id = 'c' || id, doc = '0' WHERE id = 't3';
SELECT id, doc FROM parts WHERE id LIKE '%t3';
ROLLBACK;
SELECT id, doc FROM parts WHERE id LIKE '%t3';
UPDATE parts SET id = 't2' WHERE id = 'ct2';
DELETE FROM parts WHERE id = 'ct2';
INSERT INTO parts VALUES ('t2', '2');
-- A partition that is taken out and put back keeps its documents; conditions leave out those that cannot match.
ALTER TABLE parts DETACH PARTITION late;
SELECT count(*) FROM parts WHERE id > 'm' AND id < 't';
SELECT count(*) FROM late;
INSERT INTO parts VALUES ('n9', '9');
ALTER TABLE parts ATTACH PARTITION late FOR VALUES FROM ('m') TO ('t');
SELECT count(*) FROM parts WHERE id > 'm' AND id < 't';
EXPLAIN (COSTS OFF) SELECT doc FROM parts WHERE id = 'n2';
EXPLAIN (COSTS OFF) SELECT id FROM parts WHERE id > 'k' ORDER BY id LIMIT 3;
-- Which partition it is, in conditions and new values.
SELECT tableoid::regclass, count(*) FROM parts WHERE tableoid IN ('late'::regclass, 'rest'::regclass) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM late WHERE tableoid = 'late'::regclass AND id > 'a';
SELECT count(*) FROM late WHERE tableoid <> 'late'::regclass;
SELECT id FROM parts WHERE tableoid = 'late'::regclass AND id = 'n2' FOR UPDATE;
BEGIN;
UPDATE late SET doc = to_jsonb(tableoid::regclass::text) WHERE tableoid = 'late'::regclass AND id = 'n2' RETURNING tableoid::regclass, *;
UPDATE parts SET doc = to_jsonb(tableoid::regclass::text) WHERE tableoid = 'late'::regclass AND id LIKE 'n%' RETURNING *;
DELETE FROM late WHERE tableoid = 'late'::regclass AND id = 'n2' RETURNING id;
ROLLBACK;

-- A collection joined with another, and with tables.
WITH u AS (UPDATE early SET doc = to_jsonb(l.doc::int + early.doc::int) FROM late AS l WHERE l.id = 'm3' AND l.doc = early.doc
	RETURNING early.id, early.doc, l.id AS late) SELECT * FROM u ORDER BY id;
WITH d AS (DELETE FROM early USING late AS l WHERE early.doc = l.doc RETURNING early.id) SELECT * FROM d ORDER BY id;
CREATE TABLE numbers (id text PRIMARY KEY, n int);
INSERT INTO numbers VALUES ('m2', 1), ('m9', 2);
MERGE INTO numbers USING late ON numbers.id = late.id
	WHEN MATCHED THEN UPDATE SET n = numbers.n + late.doc::int WHEN NOT MATCHED THEN INSERT VALUES (late.id, late.doc::int);
SELECT * FROM numbers ORDER BY id;
MERGE INTO late USING numbers ON numbers.id = late.id WHEN MATCHED THEN DELETE;
WITH changed AS (UPDATE late SET doc = '5' WHERE id = 'm2' RETURNING id, doc) SELECT * FROM changed JOIN numbers USING (id);

-- Locks in subqueries, views, without an id column.
SELECT id FROM numbers WHERE EXISTS (SELECT FROM late WHERE late.id = numbers.id FOR UPDATE) ORDER BY id;
SELECT id, (SELECT doc FROM late WHERE late.id = numbers.id FOR SHARE) FROM numbers ORDER BY id;
CREATE VIEW small AS SELECT id, doc FROM late WHERE doc::int < 10;
SELECT id FROM small ORDER BY id FOR UPDATE;
CREATE FOREIGN TABLE documents (doc jsonb) SERVER docstore OPTIONS (collection 'late');
SELECT * FROM documents ORDER BY doc LIMIT 2 FOR KEY SHARE;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM late ORDER BY id FOR UPDATE;
FETCH 1 FROM c;
UPDATE late SET doc = '1' WHERE CURRENT OF c;
ROLLBACK;
BEGIN READ ONLY;
SELECT id FROM late FOR UPDATE;
ROLLBACK;
SELECT id, count(*) FROM late GROUP BY id FOR UPDATE;

-- A plan that is kept sees a trigger that is added, and one that is dropped.
PREPARE change AS UPDATE late SET doc = to_jsonb(doc::int + 1) WHERE id = $1 RETURNING doc;
EXECUTE change('n2');
CREATE FUNCTION speak() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% becomes %', OLD.doc, NEW.doc;
	RETURN NEW;
END $$;
CREATE TRIGGER speak BEFORE UPDATE ON late FOR EACH ROW EXECUTE FUNCTION speak();
EXECUTE change('n2');
DROP TRIGGER speak ON late;
EXECUTE change('n2');

-- Transition tables of the root: PostgreSQL collects no rows of foreign partitions, and says so.
CREATE FUNCTION collected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% %', TG_OP, (SELECT array_agg(r::text ORDER BY r.id) FROM rows r);
	RETURN NULL;
END $$;
CREATE TRIGGER inserted AFTER INSERT ON parts REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION collected();
CREATE TRIGGER changed AFTER UPDATE ON parts REFERENCING OLD TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION collected();
CREATE TRIGGER gone AFTER DELETE ON parts REFERENCING OLD TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION collected();
INSERT INTO parts VALUES ('u7', '7'), ('u8', '8');
INSERT INTO parts VALUES ('u9', '9'), ('b9', '9');
UPDATE parts SET doc = '0' WHERE id IN ('u7', 'nothing');
UPDATE parts SET doc = '0' WHERE id = 'n2';
UPDATE parts SET doc = '0' WHERE id > 'n';
DELETE FROM parts WHERE id = 'n2';
DELETE FROM parts WHERE id = 'u8';
-- (a statement about the partition itself has none)
UPDATE late SET doc = '0' WHERE id = 'n2' RETURNING id, doc;
SELECT id, doc FROM parts WHERE id > 'n' ORDER BY id;

-- One document twice, by its id: nobody wants an order, and none is looked for in rows without ids.
SELECT 1 AS one FROM parts a, parts b WHERE a.id = 'n2' AND b.id = 'n2';
UPDATE parts SET doc = b.doc FROM parts b WHERE parts.id = 'u7' AND b.id = 'u7';

SET client_min_messages = warning;
SELECT docstore.drop_collection('early', true), docstore.drop_collection('late', true);
DROP TABLE parts, numbers;
DROP FUNCTION speak, collected;
