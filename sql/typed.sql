-- Typed columns: fields of documents as columns, for reading and for writing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('orders');
CREATE FOREIGN TABLE order_facts (
	id text COLLATE "C",
	customer text OPTIONS (path 'customer'),
	total numeric OPTIONS (path 'totals.grand'),
	items int OPTIONS (path 'totals.items'),
	placed timestamptz OPTIONS (path 'placed_at'),
	first_sku text OPTIONS (path 'lines[0].sku'),
	paid boolean,
	tags text[] OPTIONS (path 'tags'),
	lines jsonb OPTIONS (path 'lines'),
	weight float8 OPTIONS (path '"net weight"."kg"')
) SERVER docstore OPTIONS (collection 'orders');
SET timezone = 'UTC';

-- Reading: what is missing or null is NULL; a column without a path is the field of its name.
INSERT INTO orders VALUES
	('1', '{"customer": "c/9", "totals": {"grand": 12.50, "items": 3}, "placed_at": "2024-02-29T12:00:00Z", "lines": [{"sku": "a"}, {"sku": "b"}], "paid": true, "tags": ["x", "y z", null], "net weight": {"kg": 1.5}}'),
	('2', '{"customer": null, "totals": {"items": "7"}, "lines": [], "paid": "no", "tags": []}'),
	('3', '{"customer": {"name": "n"}, "totals": 5, "lines": {"sku": "a"}, "tags": "{p,q}"}'),
	('4', '[1, 2]'),
	('5', '"text"');
\pset null NULL
SELECT * FROM order_facts ORDER BY id;
SELECT id, total * 2 AS twice FROM order_facts WHERE total > 10;
SELECT sum(items) FROM order_facts WHERE paid;

-- Values that do not fit their column's type are errors that say where.
INSERT INTO orders VALUES ('6', '{"totals": {"items": 1.5}}'), ('7', '{"totals": {"items": 99999999999}}'), ('8', '{"placed_at": "yesterweek"}'), ('9', '{"paid": 5}'), ('99', '{"totals": {"items": "many"}}');
SELECT items FROM order_facts WHERE id = '6';
SELECT items FROM order_facts WHERE id = '7';
SELECT placed FROM order_facts WHERE id = '8';
SELECT paid FROM order_facts WHERE id = '9';
SELECT items FROM order_facts WHERE id = '99';
SELECT id, customer FROM order_facts WHERE id >= '6' ORDER BY id;
DELETE FROM orders WHERE id >= '6';

-- INSERT through typed columns makes the document, with all parents.
INSERT INTO order_facts (id, customer, total, placed, first_sku, paid, tags, weight)
VALUES ('a', 'c/1', 3.20, '2024-01-01', 's', false, '{u,v}', 0.25) RETURNING *;
INSERT INTO order_facts (id) VALUES ('b');
SELECT id, doc FROM orders WHERE id IN ('a', 'b') ORDER BY id;

-- UPDATE changes the document at the paths, and nothing else in it.
UPDATE order_facts SET total = 1, customer = 'c/2' WHERE id = '1' RETURNING *;
SELECT doc FROM orders WHERE id = '1';
-- NULL takes a field away; an array's element becomes null.
UPDATE order_facts SET customer = NULL, placed = NULL, weight = NULL WHERE id = '1';
UPDATE order_facts SET tags = NULL WHERE id = '4';
SELECT id, doc FROM orders WHERE id IN ('1', '4') ORDER BY id;
-- A gap in an array is filled with nulls.
CREATE FOREIGN TABLE third (id text COLLATE "C", line text OPTIONS (path 'lines[2]'), root text OPTIONS (path '[1]'))
SERVER docstore OPTIONS (collection 'orders');
UPDATE third SET line = 'third' WHERE id = '2';
UPDATE third SET root = NULL WHERE id = '4';
INSERT INTO third (id, line) VALUES ('c', 'l');
SELECT id, doc FROM orders WHERE id IN ('2', '4', 'c') ORDER BY id;
UPDATE third SET line = NULL WHERE id = 'c';
SELECT id, doc FROM orders WHERE id = 'c';
-- What is in the way is not overwritten.
UPDATE order_facts SET total = 1 WHERE id = '3';
UPDATE order_facts SET total = 1 WHERE id = '4';
UPDATE order_facts SET total = 1 WHERE id = '5';
UPDATE order_facts SET first_sku = 'x' WHERE id = '3';

-- doc and typed columns together: the columns go into the document that is given.
CREATE FOREIGN TABLE both_ways (id text COLLATE "C" NOT NULL, doc jsonb, customer text OPTIONS (path 'customer'), size int OPTIONS (path 'size'), etag bigint)
SERVER docstore OPTIONS (collection 'orders');
INSERT INTO both_ways (id, doc, customer) VALUES ('d', '{"customer": "old", "size": 3}', 'new') RETURNING id, doc, customer, size, etag > 0 AS etag;
INSERT INTO both_ways (id, customer) VALUES ('e', 'only') RETURNING id, doc, customer, size;
UPDATE both_ways SET doc = '{"size": 1}' WHERE id = 'd' RETURNING id, doc, customer, size;
UPDATE both_ways SET doc = '{"size": 1}', size = 2 WHERE id = 'd' RETURNING id, doc, customer, size;
UPDATE both_ways SET size = size + 1, id = 'f' WHERE id = 'd' RETURNING id, doc, customer, size;
INSERT INTO both_ways (id) VALUES ('g');

-- Constraints are tested on what the document has become.
CREATE FOREIGN TABLE checked (id text COLLATE "C" NOT NULL, doc jsonb, size int OPTIONS (path 'size') NOT NULL, CHECK (size < 10))
SERVER docstore OPTIONS (collection 'orders');
INSERT INTO checked (id, doc) VALUES ('h', '{"size": 5}');
INSERT INTO checked (id, doc) VALUES ('i', '{"size": 15}');
INSERT INTO checked (id, doc) VALUES ('i', '{}');
UPDATE checked SET doc = doc || '{"size": 10}' WHERE id = 'h';
UPDATE checked SET size = size + 4 WHERE id = 'h' RETURNING *;

-- A BEFORE trigger's changes of typed columns and of doc both count.
CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.size := coalesce(NEW.size, 0) + 100; RETURN NEW; END $$;
CREATE TRIGGER grow BEFORE INSERT OR UPDATE ON both_ways FOR EACH ROW EXECUTE FUNCTION grow();
INSERT INTO both_ways (id, doc) VALUES ('j', '{}') RETURNING doc, size;
UPDATE both_ways SET customer = 'c' WHERE id = 'j' RETURNING doc, size;

-- Types of all kinds go in and come out.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE FOREIGN TABLE kinds (id text COLLATE "C", a smallint, b bigint, c real, d date, e uuid, f mood, g int[], h positive, i numeric(6, 2), j bytea, k json, l varchar(3), m interval)
SERVER docstore OPTIONS (collection 'orders');
INSERT INTO kinds VALUES ('k', -32768, 9007199254740993, 1.25, '2024-02-29', '12345678-1234-1234-1234-123456789abc', 'happy', '{1,2,NULL}', 7, 1234.567, '\x00ff', '{"k": [1]}', 'abc', '1 day 02:00');
SELECT doc FROM orders WHERE id = 'k';
SELECT * FROM kinds WHERE id = 'k';
INSERT INTO orders VALUES ('l', '{"a": 0, "b": -9223372036854775808, "g": [], "h": 10000, "i": 1}'), ('m', '{"b": 9223372036854775807, "a": "12", "g": [[1]]}'), ('n', '{"h": -1}'), ('o', '{"f": "angry"}'), ('p', '{"l": "abcd"}');
SELECT id, a, b, h, i FROM kinds WHERE id IN ('l', 'm') ORDER BY id;
SELECT g FROM kinds WHERE id = 'm';
SELECT h FROM kinds WHERE id = 'n';
SELECT f FROM kinds WHERE id = 'o';
SELECT l FROM kinds WHERE id = 'p';
-- What is written reads the same in every session, whatever styles it is written in.
CREATE FOREIGN TABLE styles (id text COLLATE "C", a float8, b real, c date, d daterange, e datemultirange, f interval, g timestamp[], h float8[], i tsrange[])
SERVER docstore OPTIONS (collection 'orders');
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = -3;
INSERT INTO styles VALUES ('styles', 0.1::float8 + 0.2, 1.1, '01/02/2024', '[01/02/2024,03/02/2024)', '{[01/02/2024,03/02/2024)}', interval '-2 days' - interval '3 hours', '{01/02/2024}',
	ARRAY[1::float8 / 3], '{"[01/02/2024,03/02/2024)"}') RETURNING *;
UPDATE styles SET b = b * 3 WHERE id = 'styles' RETURNING b;
SHOW datestyle;
RESET datestyle;
RESET intervalstyle;
RESET extra_float_digits;
SELECT * FROM styles WHERE id = 'styles';
SELECT doc FROM orders WHERE id = 'styles';

-- Rows of a composite type are objects; arrays have one dimension.
CREATE TYPE place AS (street text, no int);
CREATE TYPE person AS (name text, born date, home place, others place[]);
CREATE FOREIGN TABLE people (id text COLLATE "C", who person, homes place[], n int[], j jsonb[]) SERVER docstore OPTIONS (collection 'orders');
INSERT INTO people VALUES ('person', ('Ada', '1815-12-10', ('St. James', 12), ARRAY[('a', 1), NULL]::place[]), ARRAY[('b', NULL), NULL]::place[], '{1}', ARRAY['[1]', '{}']::jsonb[]);
SELECT doc FROM orders WHERE id = 'person';
SELECT *, (who).home.street FROM people WHERE id = 'person';
SET force_parallel_mode = on;
EXPLAIN (COSTS OFF) SELECT id FROM people WHERE id = 'person';
EXPLAIN (COSTS OFF) SELECT id FROM order_facts WHERE id = 'person';
RESET force_parallel_mode;
UPDATE people SET who.home.no = 13, homes[2].street = 'c' WHERE id = 'person' RETURNING who, homes;
INSERT INTO orders VALUES ('person2', '{"who": {"born": "1900-01-01", "more": 1}, "homes": ["(d,4)", {}]}'), ('person3', '{"who": {"home": {"no": "many"}}}'), ('person4', '{"who": 5}');
SELECT who, homes FROM people WHERE id = 'person2';
SELECT who FROM people WHERE id = 'person3';
SELECT who FROM people WHERE id = 'person4';
ALTER TYPE place RENAME ATTRIBUTE no TO number;
ALTER TYPE place ADD ATTRIBUTE city text;
UPDATE orders SET doc = '{"who": {"home": {"no": 1, "number": 2, "city": "London"}}}' WHERE id = 'person2';
SELECT who FROM people WHERE id = 'person2';
UPDATE people SET n = '{{1,2},{3,4}}' WHERE id = 'person2';
INSERT INTO people (id, j) VALUES ('person5', '{{1},{2}}');
DELETE FROM orders WHERE id ~ '^(person|styles)';

-- Many paths at once: with a common beginning, one twice, of objects and arrays, of an object with many members.
INSERT INTO orders SELECT 'q', '{"a": {"b": {"c": 1, "d": "two"}, "e": [10, {"f": 3}, null]}, "ab": true, "": "empty", "b": {"b": 4}}'::jsonb
	|| jsonb_object_agg('key' || i, i) FROM generate_series(1, 1000) i;
CREATE FOREIGN TABLE paths (id text COLLATE "C", c int OPTIONS (path 'a.b.c'), d text OPTIONS (path 'a.b.d'), b jsonb OPTIONS (path 'a.b'),
	c2 text OPTIONS (path 'a.b.c'), e0 int OPTIONS (path 'a.e[0]'), f int OPTIONS (path 'a.e[1].f'), e2 int OPTIONS (path 'a.e[2]'),
	e3 int OPTIONS (path 'a.e[3]'), ab boolean, empty text OPTIONS (path '""'), bb int OPTIONS (path 'b.b'), key1 int, key500 int, key1000 int, key1001 int,
	zz int, no text OPTIONS (path 'a.b.c.d'), neither text OPTIONS (path 'a[0]'), nor text OPTIONS (path 'a.e.f')) SERVER docstore OPTIONS (collection 'orders');
SELECT * FROM paths WHERE id = 'q';
SELECT key1000, f, c FROM paths WHERE id = 'q';
SELECT empty FROM paths WHERE id = 'q' AND key500 = 500 AND ab;
SELECT bb FROM paths WHERE id = 'q' AND bb = 4;
SELECT c, e0, key1 FROM paths WHERE id = 'h';
UPDATE orders SET doc = doc - (SELECT array_agg('key' || i) FROM generate_series(41, 1000) i) WHERE id = 'q';
SELECT * FROM paths WHERE id = 'q' AND key1 = 1;
SELECT c, e0, key1 FROM paths WHERE id = '5';

-- Documents whose keys are those of the one before, and ones whose keys are not: others of the same lengths, more, fewer, many, long ones,
-- nested ones, arrays and scalars.  Each column is what the path gives, in a memtable and in a table, with a condition and without.
SELECT docstore.create_collection('shapes');
INSERT INTO shapes SELECT 's' || lpad(i::text, 4, '0'), CASE
	WHEN i % 50 = 49 THEN '[1, {"a": 2}]'
	WHEN i % 50 = 48 THEN '"scalar"'
	WHEN i % 50 = 47 THEN '{}'
	ELSE jsonb_build_object('a', i, 'n', jsonb_build_object('x', i * 10000::bigint, 'y', 'in ' || i), 'bb', 'text of ' || i, 'num', i / 8.0)
		|| CASE i / 10 % 6
			WHEN 0 THEN '{}'
			WHEN 1 THEN jsonb_build_object(CASE i % 3 WHEN 0 THEN 'c' ELSE 'b' END, i)
			WHEN 2 THEN jsonb_build_object('cc', repeat('é', i % 40), 'zzz', i % 2 = 0)
			WHEN 3 THEN (SELECT jsonb_object_agg('k' || k, k) FROM generate_series(10, 10 + i % 60) k)
			WHEN 4 THEN jsonb_build_object(repeat('long', 300), 1, 'num', -i * 1e20, 'n', jsonb_build_object('z', i, 'y', NULL))
			ELSE jsonb_build_object('n', i, 'arr', jsonb_build_array(i, 'two', NULL))
		END
	END FROM generate_series(1, 1200) i;
CREATE FOREIGN TABLE shape_facts (id text COLLATE "C", a int, b int, bb text, cc text, num numeric, zzz boolean, k10 int, k45 int, nx bigint OPTIONS (path 'n.x'),
	ny text OPTIONS (path 'n.y'), nz int OPTIONS (path 'n.z'), n jsonb, a0 text OPTIONS (path 'arr[0]'), a1 text OPTIONS (path 'arr[1]'), r0 int OPTIONS (path '[0]'),
	doc jsonb) SERVER docstore OPTIONS (collection 'shapes');
CREATE VIEW shapes_that_differ AS SELECT id FROM shape_facts WHERE (a, b, bb, cc, num, zzz, k10, k45, nx, ny, nz, a0, a1, r0) IS DISTINCT FROM
	((doc->>'a')::int, (doc->>'b')::int, doc->>'bb', doc->>'cc', (doc->>'num')::numeric, (doc->>'zzz')::boolean, (doc->>'k10')::int, (doc->>'k45')::int,
	(doc#>>'{n,x}')::bigint, doc#>>'{n,y}', (doc#>>'{n,z}')::int, doc#>>'{arr,0}', doc#>>'{arr,1}', CASE WHEN jsonb_typeof(doc) = 'array' THEN (doc->>0)::int END)
	OR n IS DISTINCT FROM nullif(doc->'n', 'null');
SELECT * FROM shapes_that_differ;
SELECT count(a), count(b), sum(length(cc)), sum(k45), sum(nx), count(ny), sum(nz), count(a1), sum(r0) FROM shape_facts;
SELECT docstore.compact();
SELECT * FROM shapes_that_differ;
SELECT count(a), count(b), sum(length(cc)), sum(k45), sum(nx), count(ny), sum(nz), count(a1), sum(r0) FROM shape_facts;
SELECT count(*), sum(nz), max(bb) FROM shape_facts WHERE a % 7 = 0 AND num < 0;
SELECT a, bb, nx FROM shape_facts WHERE id IN ('s0003', 's0049', 's0047', 's0004') ORDER BY id;
UPDATE shape_facts SET b = a WHERE id BETWEEN 's0100' AND 's0103' RETURNING id, a, b, cc, num;
SELECT * FROM shapes_that_differ;
SELECT id, a, b, num FROM shape_facts WHERE id < 's0104' ORDER BY id DESC LIMIT 5;
DROP VIEW shapes_that_differ;
SELECT docstore.drop_collection('shapes', true);

-- Documents are made into rows several at a time; one that does not fit is an error when it is its turn, and large values are no matter.
SELECT docstore.create_collection('turns');
INSERT INTO turns SELECT 't' || lpad(i::text, 2, '0'), jsonb_build_object('n', CASE i WHEN 20 THEN '"twenty"' ELSE to_jsonb(i) END, 'word', repeat('w' || i, i % 5 * 1000),
	'at', '2024-01-01'::date + i, 'mark', 'mark of ' || i, 'short', 'this is ' || i) FROM generate_series(1, 60) i;
CREATE FOREIGN TABLE turn_facts (id text COLLATE "C", n int, word text, at date, mark text, short text, etag bigint) SERVER docstore OPTIONS (collection 'turns');
SELECT docstore.compact();
SELECT n FROM turn_facts ORDER BY id LIMIT 3 OFFSET 16;
SELECT count(*), sum(n) FROM turn_facts;
BEGIN;
DECLARE c CURSOR FOR SELECT id, n, length(word), at FROM turn_facts;
MOVE 18 FROM c;
FETCH 1 FROM c;
FETCH 1 FROM c;
ROLLBACK;
SELECT count(id), count(etag), sum(length(word)), min(at), max(at) FROM turn_facts;
-- Conditions of which one takes an input function; the columns that they are about and the others.
SELECT id, mark, short, at FROM turn_facts WHERE at BETWEEN '2024-01-12' AND '2024-01-15' AND mark LIKE 'mark of 1%' ORDER BY id;
SELECT id, left(word, 8), mark FROM turn_facts WHERE mark LIKE '%3' AND id > 't10' ORDER BY id;
UPDATE turns SET doc = doc || '{"n": 20}' WHERE id = 't20';
DELETE FROM turns WHERE id IN ('t05', 't50');
SELECT count(*), sum(n), count(DISTINCT id), count(DISTINCT word) FROM turn_facts;
SELECT docstore.compact();
SELECT count(*), sum(n), count(DISTINCT id), count(DISTINCT word) FROM turn_facts;
SELECT count(*), sum(n) FROM turn_facts WHERE id > 't03' AND id < 't52';
SELECT o.n, i.n FROM turn_facts o, LATERAL (SELECT n FROM turn_facts WHERE turn_facts.id > o.id ORDER BY id LIMIT 2 OFFSET 20) i WHERE o.id < 't04' ORDER BY 1, 2;
SELECT docstore.drop_collection('turns', true);

-- What a condition rules out is not converted; what it is about is, in its order.
SELECT id, placed FROM order_facts WHERE id > 'k' AND customer = 'nobody';
INSERT INTO orders VALUES ('r', '{"placed_at": "yesterweek", "customer": "c/5"}');
SELECT placed FROM order_facts WHERE customer = 'c/6';
SELECT placed FROM order_facts WHERE customer = 'c/5';

-- on_mismatch: a value that does not fit reads as NULL; a write still takes only what fits.
CREATE FOREIGN TABLE lenient (id text COLLATE "C", placed timestamptz OPTIONS (path 'placed_at'), a smallint, b bigint, d date, f mood, g int[], i numeric(6, 2), l varchar(3),
	customer text) SERVER docstore OPTIONS (collection 'orders', on_mismatch 'null');
SELECT id, placed, customer FROM lenient WHERE id = 'r';
INSERT INTO orders VALUES ('s', '{"a": 70000, "b": "many", "d": {"y": 2024}, "f": "angry", "g": [1, "x"], "i": 99999, "l": "abcd", "customer": [1]}'),
	('t', '{"a": 7, "b": "70", "d": "2024-02-29", "f": "sad", "g": [1, "2"], "i": "1.234", "l": "abc", "placed_at": "2024-01-01"}');
SELECT * FROM lenient WHERE id IN ('s', 't') ORDER BY id;
SELECT count(*), count(a), sum(b) FROM lenient;
SELECT id FROM lenient WHERE a IS NULL AND l IS NULL AND id > 'r' ORDER BY id;
UPDATE lenient SET customer = 'c/7' WHERE id = 's' RETURNING id, a, customer;
SELECT doc FROM orders WHERE id = 's';
INSERT INTO lenient (id, a) VALUES ('u', 70000);
ALTER FOREIGN TABLE lenient OPTIONS (SET on_mismatch 'error');
SELECT a FROM lenient WHERE id = 's';
ALTER FOREIGN TABLE lenient OPTIONS (SET on_mismatch 'maybe');
CREATE FOREIGN TABLE strict (id text COLLATE "C", h positive) SERVER docstore OPTIONS (collection 'orders', on_mismatch 'null');
SELECT * FROM strict;

SET client_min_messages = warning;
SELECT docstore.drop_collection('orders');
DROP FUNCTION grow;
DROP TYPE mood, person, place;
DROP DOMAIN positive;
