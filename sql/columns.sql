-- Columns with defaults, generated ones, constraints; inheritance, batches, and what PostgreSQL refuses for foreign tables.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT docstore.create_collection('orders');
CREATE FOREIGN TABLE priced (
	id text COLLATE "C" NOT NULL,
	price numeric DEFAULT 1 CHECK (price > 0),
	quantity int DEFAULT 2 NOT NULL,
	total numeric GENERATED ALWAYS AS (price * quantity) STORED,
	note text,
	CONSTRAINT cheap CHECK (total < 1000)
) SERVER docstore OPTIONS (collection 'orders');

-- Defaults and generated columns become fields of the document.
INSERT INTO priced (id, price) VALUES ('a', 10), ('b', NULL);
INSERT INTO priced (id) VALUES ('c') RETURNING *;
INSERT INTO priced (id, note) SELECT 'd' || i, 'many' FROM generate_series(1, 3) i;
COPY priced (id, quantity) FROM STDIN;
e1	5
e2	6
\.
SELECT id, doc FROM orders ORDER BY id;
UPDATE priced SET quantity = quantity + 1 WHERE id < 'd' RETURNING *;
UPDATE priced SET price = DEFAULT, quantity = DEFAULT WHERE id = 'e2' RETURNING *;
SELECT id, doc FROM orders WHERE id IN ('a', 'b', 'e2') ORDER BY id;
INSERT INTO priced (id, total) VALUES ('f', 3);
UPDATE priced SET total = 3 WHERE id = 'a';

-- CHECK and NOT NULL, one row or a batch: nothing of the statement stays.
INSERT INTO priced (id, price) VALUES ('f', -1);
INSERT INTO priced (id, price, quantity) SELECT 'f' || i, 10, CASE WHEN i = 50 THEN 100 ELSE i END FROM generate_series(1, 70) i;
INSERT INTO priced (id, quantity) SELECT 'f' || i, nullif(i, 60) FROM generate_series(1, 70) i;
UPDATE priced SET quantity = 1000;
COPY priced (id, price) FROM STDIN;
f1	1
f2	0
\.
SELECT count(*) FROM orders WHERE id LIKE 'f%';
INSERT INTO priced (id, price) SELECT 'f' || i, i FROM generate_series(1, 200) i;
SELECT count(*), sum(total), count(DISTINCT id) FROM priced WHERE id LIKE 'f%';

-- How many rows are written together can be set, for a table or a server.
ALTER FOREIGN TABLE priced OPTIONS (ADD batch_size '0');
ALTER FOREIGN TABLE priced OPTIONS (ADD batch_size '65');
ALTER FOREIGN TABLE priced OPTIONS (ADD batch_size 'many');
ALTER FOREIGN TABLE priced OPTIONS (ADD batch_size '7');
ALTER SERVER docstore OPTIONS (ADD batch_size '1');
EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO priced (id) SELECT 'g' || i FROM generate_series(1, 20) i;
INSERT INTO priced (id) SELECT 'g' || i FROM generate_series(1, 20) i;
EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO orders (id, doc) SELECT 'h' || i, '{}' FROM generate_series(1, 20) i;
INSERT INTO orders (id, doc) SELECT 'h' || i, '{}' FROM generate_series(1, 20) i;
EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO priced (id) VALUES ('x'), ('y') RETURNING id;
ALTER FOREIGN TABLE priced OPTIONS (DROP batch_size);
ALTER SERVER docstore OPTIONS (DROP batch_size);
SELECT count(*) FROM orders WHERE id LIKE 'g%' OR id LIKE 'h%';
DELETE FROM orders WHERE id >= 'f';

-- EXPLAIN VERBOSE names what is taken out of documents.
CREATE FOREIGN TABLE parts (id text COLLATE "C", doc jsonb, note text, grand numeric OPTIONS (path 'totals.grand'), sku text OPTIONS (path 'lines[0].sku'),
	odd text OPTIONS (path '"a ""b"".c"."d e"[1]'), first text OPTIONS (path '[0]')) SERVER docstore OPTIONS (collection 'orders');
EXPLAIN (VERBOSE, COSTS OFF) SELECT grand, odd FROM parts WHERE sku = 'x' AND id > 'a';
EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM parts;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id, doc FROM parts;
EXPLAIN (VERBOSE, COSTS OFF, FORMAT json) SELECT note, "first" FROM parts WHERE id = 'a';

-- psql shows tables, their columns' options, and comments.
COMMENT ON FOREIGN TABLE parts IS 'what there is of parts';
COMMENT ON COLUMN parts.sku IS 'of the first line';
\d parts
\d priced
SELECT obj_description('parts'::regclass), col_description('parts'::regclass, 5);
\det p*

-- Inheritance: a collection as a child of a table, and the other way round.
CREATE TABLE things (id text COLLATE "C", note text);
INSERT INTO things VALUES ('t', 'table');
ALTER FOREIGN TABLE priced INHERIT things;
UPDATE things SET note = note || '!' WHERE id IN ('t', 'd1') RETURNING tableoid::regclass, *;
DELETE FROM things WHERE id IN ('d2', 'nothing') RETURNING tableoid::regclass, id;
SELECT tableoid::regclass, * FROM things WHERE id < 'd2' OR id > 'e' ORDER BY id;
ALTER TABLE things ADD price numeric CHECK (price < 50);
ALTER FOREIGN TABLE priced NO INHERIT things;
INSERT INTO priced (id, price) VALUES ('i', 60);
CREATE TABLE heirs () INHERITS (priced);
INSERT INTO heirs (id, price) VALUES ('heir', 5);
SELECT tableoid::regclass, id, total FROM priced WHERE id > 'e1' ORDER BY id;
SELECT tableoid::regclass, id FROM ONLY priced WHERE id > 'e1' ORDER BY id;
DROP TABLE heirs;
DROP TABLE things;

-- What PostgreSQL has for tables only.
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER t AFTER INSERT ON priced REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION nothing();
CREATE UNIQUE INDEX ON priced (id);
ALTER FOREIGN TABLE priced ADD PRIMARY KEY (id);
ALTER FOREIGN TABLE priced ENABLE ROW LEVEL SECURITY;
INSERT INTO priced (id) VALUES ('a') ON CONFLICT (id) DO UPDATE SET note = 'again';
MERGE INTO priced USING (VALUES ('a')) AS v (id) ON priced.id = v.id WHEN MATCHED THEN DELETE;
-- (from a collection into a table is all right)
CREATE TABLE copies (id text, total numeric);
MERGE INTO copies USING priced ON copies.id = priced.id WHEN NOT MATCHED THEN INSERT VALUES (priced.id, priced.total);
SELECT count(*), sum(total) FROM copies;
DROP TABLE copies;

DROP FUNCTION nothing;
SET client_min_messages = warning;
SELECT docstore.drop_collection('orders');
