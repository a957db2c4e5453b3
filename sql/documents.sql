-- Documents: written, read, changed, deleted.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('orders');
INSERT INTO orders VALUES ('orders/1', '{"customer": "c/9", "lines": [{"sku": "a", "qty": 2}]}');
INSERT INTO orders (id, doc) VALUES ('orders/2', '{"customer": "c/7"}'), ('orders/3', '[1, 2, 3]'),
	('orders/4', '"just a string"'), ('orders/5', 'null'), ('orders/6', '{}');
SELECT id, doc, etag > 0 AS has_etag, modified > now() - interval '1 hour' AS recent FROM orders ORDER BY id;
SELECT doc->'lines'->0->>'sku' AS sku FROM orders WHERE id = 'orders/1';

-- An id is used once.
INSERT INTO orders VALUES ('orders/1', '{}');
INSERT INTO orders VALUES ('orders/7', '{}'), ('orders/7', '{}');
INSERT INTO orders VALUES ('orders/1', '{"changed": true}'), ('orders/8', '{}') ON CONFLICT DO NOTHING;
SELECT id FROM orders WHERE id > 'orders/6';
INSERT INTO orders VALUES ('orders/9', '{}'), ('orders/9', '{"twice": true}') ON CONFLICT DO NOTHING RETURNING id, doc;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
	INSERT INTO orders SELECT id, '{}' FROM unnest('{orders/1,orders/9,orders/9x}'::text[]) id ON CONFLICT DO NOTHING;
DELETE FROM orders WHERE id = 'orders/9x';
INSERT INTO orders VALUES ('orders/1', '{}') ON CONFLICT (id) DO UPDATE SET doc = excluded.doc;

-- An update gives a document a new etag, and RETURNING shows the new version.
SELECT etag AS before FROM orders WHERE id = 'orders/1' \gset
UPDATE orders SET doc = jsonb_set(doc, '{paid}', 'true') WHERE id = 'orders/1'
RETURNING id, doc, etag > :before AS newer, modified >= now() AS just_now;
SELECT doc FROM orders WHERE id = 'orders/1' AND etag > :before;

-- Optimistic concurrency: an old etag changes nothing.
UPDATE orders SET doc = '{}' WHERE id = 'orders/1' AND etag = :before;
SELECT etag AS before FROM orders WHERE id = 'orders/1' \gset
UPDATE orders SET doc = doc || '{"seen": 1}' WHERE id = 'orders/1' AND etag = :before RETURNING doc;

-- An update of the id moves the document; not onto another.
UPDATE orders SET id = 'orders/1a' WHERE id = 'orders/1' RETURNING id, doc;
SELECT id FROM orders WHERE id LIKE 'orders/1%';
UPDATE orders SET id = 'orders/2' WHERE id = 'orders/1a';
UPDATE orders SET id = id WHERE id = 'orders/1a';
UPDATE orders SET id = 'moved/' || id WHERE id >= 'orders/8';
SELECT id FROM orders ORDER BY id;

-- DELETE, with the deleted version.
DELETE FROM orders WHERE id = 'orders/2' RETURNING id, doc, etag > 0 AS has_etag;
DELETE FROM orders WHERE id = 'orders/2';
INSERT INTO orders VALUES ('orders/2', '{"again": true}');
SELECT doc FROM orders WHERE id = 'orders/2';

-- Conditions on the document are tested one by one.
UPDATE orders SET doc = doc || '{"object": true}' WHERE jsonb_typeof(doc) = 'object' AND id LIKE 'orders/%';
SELECT id, doc FROM orders ORDER BY id;
DELETE FROM orders WHERE doc ? 'object';
SELECT id, doc FROM orders ORDER BY id;

-- Joins with ordinary tables, also as the target of a change.
CREATE TABLE customers (customer text PRIMARY KEY, name text);
INSERT INTO customers VALUES ('c/7', 'Ada'), ('c/9', 'Bob');
INSERT INTO orders SELECT 'o/' || i, jsonb_build_object('customer', 'c/' || (i % 3 + 7), 'total', i) FROM generate_series(1, 6) AS i;
SELECT o.id, c.name FROM orders o JOIN customers c ON c.customer = o.doc->>'customer' ORDER BY o.id;
WITH changed AS (UPDATE orders o SET doc = doc || jsonb_build_object('name', c.name) FROM customers c
	WHERE c.customer = o.doc->>'customer' AND o.id LIKE 'o/%' RETURNING o.id, o.doc->>'name' AS name, c.customer)
SELECT * FROM changed ORDER BY id;
WITH gone AS (DELETE FROM orders o USING customers c WHERE c.customer = o.doc->>'customer' AND c.name = 'Ada' RETURNING o.id)
SELECT id FROM gone ORDER BY id;
WITH gone AS (DELETE FROM orders WHERE id LIKE 'o/%' RETURNING id, doc)
INSERT INTO orders SELECT 'p' || substr(id, 2), doc FROM gone;
SELECT id FROM orders WHERE id ~ '^[op]/' ORDER BY id;

-- Triggers see and change documents.
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		RAISE NOTICE '% %: %', TG_WHEN, TG_OP, OLD.doc;
		RETURN OLD;
	END IF;
	IF TG_WHEN = 'BEFORE' THEN
		NEW.doc := NEW.doc || jsonb_build_object('op', lower(TG_OP));
	ELSE
		RAISE NOTICE '% %: %, etag % before %', TG_WHEN, TG_OP, NEW.doc, CASE WHEN NEW.etag > 0 THEN 'set' END, OLD.doc;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER stamp_before BEFORE INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER stamp_after AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO orders VALUES ('t/1', '{}');
UPDATE orders SET id = 't/2' WHERE id = 't/1';
DELETE FROM orders WHERE id = 't/2';
DROP TRIGGER stamp_before ON orders;
DROP TRIGGER stamp_after ON orders;

-- put inserts or replaces, and returns the etag.
SELECT docstore.put('orders', 'put/1', '{"n": 1}') AS first \gset
SELECT docstore.put('orders', 'put/1', '{"n": 2}') AS second \gset
SELECT :second > :first AS grows, etag = :second AS same, doc FROM orders WHERE id = 'put/1';
SELECT docstore.put('orders', 'put/1', '{"n": 3}', :second) > :second AS replaced;
\set VERBOSITY sqlstate
SELECT docstore.put('orders', 'put/1', '{"n": 4}', :second);
SELECT docstore.put('orders', 'put/1', '{"n": 4}', 0);
SELECT docstore.put('orders', 'put/2', '{"n": 4}', :second);
\set VERBOSITY default
SELECT docstore.put('orders', 'put/2', '{"n": 5}', 0) > 0 AS inserted;
SELECT docstore.put('orders', 'put/3', '{}', -1);
SELECT docstore.put('orders', NULL, '{}');
SELECT docstore.put('nowhere', 'x', '{}');
SELECT id, doc FROM orders WHERE id LIKE 'put/%' ORDER BY id;

-- Ids: any text of 1 to 1024 bytes, in the order of their bytes.
INSERT INTO orders VALUES ('é', '1'), ('Z', '2'), ('a', '3'), (' ', '4'), ('''"\%_', '5'), (repeat('x', 1024), '6');
SELECT left(id, 5) AS id, length(id), doc FROM orders WHERE jsonb_typeof(doc) = 'number' ORDER BY id;
SELECT doc FROM orders WHERE id = repeat('x', 1024);
SELECT doc FROM orders WHERE id = repeat('x', 1025);
SELECT doc FROM orders WHERE id = '';
SELECT doc FROM orders WHERE id = '''"\%_';

-- Large documents, and ones with everything in them.
INSERT INTO orders VALUES ('big', (SELECT jsonb_object_agg('key' || i, repeat('v' || i, 100)) FROM generate_series(1, 5000) AS i));
SELECT pg_column_size(doc) > 1000000 AS big, doc->>'key4999' = repeat('v4999', 100) AS whole FROM orders WHERE id = 'big';
UPDATE orders SET doc = doc || '{"key1": null}' WHERE id = 'big';
SELECT doc->'key1' AS key1, doc->>'key4999' = repeat('v4999', 100) AS whole FROM orders WHERE id = 'big';
INSERT INTO orders VALUES ('odd', '{"": {"": [[], {}, [null, true, false, -0.50, 1e400, "\u00e9\n"]]}, "a": 1, "A": 1}');
SELECT doc FROM orders WHERE id = 'odd';

-- ANALYZE counts and samples.
ANALYZE orders;
SELECT reltuples = (SELECT count(*) FROM orders) AS counted FROM pg_class WHERE oid = 'orders'::regclass;
SELECT attname, null_frac FROM pg_stats WHERE tablename = 'orders' AND attname IN ('id', 'etag') ORDER BY 1;

SELECT docstore.drop_collection('orders');
DROP TABLE customers;
DROP FUNCTION stamp;
