-- Subtransactions: a collection and a table go through the same changes, released and rolled back in any order, and must
-- agree after every step.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('docs');
CREATE TABLE twins (id text COLLATE "C" PRIMARY KEY, doc jsonb);

CREATE FUNCTION compare(step text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	differ record;
BEGIN
	FOR differ IN SELECT id, d.doc AS doc, t.doc AS twin FROM docs AS d FULL JOIN twins AS t USING (id) WHERE d.doc IS DISTINCT FROM t.doc
	LOOP
		RAISE EXCEPTION 'after %: document % is %, its twin %', step, differ.id, differ.doc, differ.twin;
	END LOOP;
END $$;

-- One random change on both sides: insert, update, move, delete, lock, put.
CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	a text := 'd' || floor(random() * 12);
	b text := 'd' || floor(random() * 12);
	v jsonb := to_jsonb(floor(random() * 1000)::int);
	n int;
	m int;
BEGIN
	CASE floor(random() * 6)::int
		WHEN 0 THEN
			INSERT INTO docs VALUES (a, v) ON CONFLICT DO NOTHING;
			INSERT INTO twins VALUES (a, v) ON CONFLICT DO NOTHING;
		WHEN 1 THEN
			UPDATE docs SET doc = v WHERE id >= least(a, b) AND id <= greatest(a, b);
			GET DIAGNOSTICS n = ROW_COUNT;
			UPDATE twins SET doc = v WHERE id >= least(a, b) AND id <= greatest(a, b);
			GET DIAGNOSTICS m = ROW_COUNT;
			IF n <> m THEN RAISE EXCEPTION '% documents were updated, and % twins', n, m; END IF;
		WHEN 2 THEN
			-- May find the id taken: then neither side has done anything.
			BEGIN
				UPDATE docs SET id = b WHERE id = a;
				UPDATE twins SET id = b WHERE id = a;
			EXCEPTION WHEN unique_violation THEN
				PERFORM compare('a duplicate');
			END;
		WHEN 3 THEN
			DELETE FROM docs WHERE id = a;
			DELETE FROM twins WHERE id = a;
		WHEN 4 THEN
			PERFORM id FROM docs WHERE id >= a FOR UPDATE;
		ELSE
			PERFORM docstore.put('docs', a, v);
			INSERT INTO twins VALUES (a, v) ON CONFLICT (id) DO UPDATE SET doc = v;
	END CASE;
END $$;

-- A tree of subtransactions: each does some changes and some subtransactions, and is then rolled back, or not.
CREATE FUNCTION subtree(depth int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 1 + floor(random() * 4)::int LOOP
		IF depth > 0 AND random() < 0.5 THEN
			BEGIN
				PERFORM subtree(depth - 1);
				IF random() < 0.5 THEN RAISE division_by_zero; END IF;
			EXCEPTION WHEN division_by_zero THEN
				PERFORM compare('a rollback');
			END;
		ELSE
			PERFORM change();
		END IF;
		PERFORM compare('a step');
	END LOOP;
END $$;

SELECT setseed(0.42) IS NOT NULL AS seeded;
DO $$
BEGIN
	FOR i IN 1 .. 150 LOOP
		PERFORM subtree(5);
		IF random() < 0.3 THEN ROLLBACK; ELSE COMMIT; END IF;
		PERFORM compare('a transaction');
	END LOOP;
END $$;
SELECT count(*) > 0 AS some_are_left, count(*) = (SELECT count(*) FROM twins) AS as_many FROM docs;

-- Savepoints by name, released and rolled back across each other.
DELETE FROM docs;
BEGIN;
INSERT INTO docs VALUES ('0', '"kept"');
SAVEPOINT a;
INSERT INTO docs VALUES ('a', '1');
SAVEPOINT b;
UPDATE docs SET doc = '2' WHERE id = 'a';
SAVEPOINT a;
DELETE FROM docs WHERE id = 'a';
INSERT INTO docs VALUES ('inner', '1');
RELEASE a;
SELECT id, doc FROM docs ORDER BY id;
ROLLBACK TO b;
SELECT id, doc FROM docs ORDER BY id;
UPDATE docs SET doc = '3' WHERE id = 'a';
ROLLBACK TO b;
ROLLBACK TO b;
UPDATE docs SET doc = '4' WHERE id = 'a';
RELEASE b;
SAVEPOINT c;
UPDATE docs SET id = 'moved' WHERE id = 'a';
SELECT id, doc FROM docs ORDER BY id;
ROLLBACK TO c;
SELECT id, doc FROM docs ORDER BY id;
ROLLBACK TO a;
SELECT id, doc FROM docs ORDER BY id;
INSERT INTO docs VALUES ('a', '"again"');
COMMIT;
SELECT id, doc FROM docs ORDER BY id;

-- Tens of thousands in one transaction, every third rolled back; one document is changed by all of them.
DELETE FROM docs;
INSERT INTO docs VALUES ('sum', '0');
DO $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		BEGIN
			INSERT INTO docs VALUES ('s' || i, to_jsonb(i));
			UPDATE docs SET doc = to_jsonb(doc::int + 1) WHERE id = 'sum';
			IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END $$;
SELECT count(*), sum(doc::int) FROM docs WHERE id LIKE 's%' AND id <> 'sum';
SELECT doc FROM docs WHERE id = 'sum';

-- One document changed, deleted and inserted again, all rolled back: it is what it was, from both sides.
DO $$
BEGIN
	FOR i IN 1 .. 5000 LOOP
		BEGIN
			UPDATE docs SET doc = '-1' WHERE id = 'sum';
			IF i % 5 = 0 THEN
				DELETE FROM docs WHERE id = 'sum';
				INSERT INTO docs VALUES ('sum', '-2');
			END IF;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			IF i % 1000 = 0 THEN
				UPDATE docs SET doc = to_jsonb(doc::int + 1) WHERE id = 'sum';
			END IF;
		END;
	END LOOP;
END $$;
SELECT id, doc FROM docs WHERE id > 's9999' ORDER BY id;
SELECT id, doc FROM docs WHERE id > 's9998' ORDER BY id DESC;
UPDATE docs SET doc = to_jsonb(doc::int + 1) WHERE id = 'sum' RETURNING doc;
SELECT docstore.flush();
SELECT id, doc FROM docs WHERE id > 's9998' ORDER BY id;

-- Locks that subtransactions took and gave back do not fill anything up.
BEGIN;
DO $$
BEGIN
	FOR i IN 1 .. 5000 LOOP
		BEGIN
			PERFORM id FROM docs WHERE id = 's1' FOR UPDATE;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END $$;
COMMIT;

SELECT docstore.drop_collection('docs');
DROP TABLE twins;
DROP FUNCTION compare, change, subtree;
