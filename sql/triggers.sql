-- Triggers: of tables that touch documents, and of foreign tables over documents that touch rows.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('stock');
CREATE FOREIGN TABLE items (id text COLLATE "C", n int, note text) SERVER docstore OPTIONS (collection 'stock');
INSERT INTO stock VALUES ('nut', '{"n": 10}'), ('bolt', '{"n": 5}');

-- An order takes from the stock, in the same transaction; a failing one takes nothing.
CREATE TABLE orders (item text, n int);
CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	remaining int;
BEGIN
	UPDATE items SET n = items.n - NEW.n WHERE id = NEW.item RETURNING items.n INTO remaining;
	IF remaining < 0 THEN
		RAISE EXCEPTION 'only % left of %', remaining + NEW.n, NEW.item;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER take AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION take();
INSERT INTO orders VALUES ('nut', 3), ('bolt', 1), ('nut', 2);
INSERT INTO orders VALUES ('nut', 1), ('nut', 100);
SELECT * FROM orders ORDER BY item, n;
SELECT id, n FROM items ORDER BY id;

-- A BEFORE trigger that reads documents: nobody gets more than there is.
CREATE FUNCTION check_stock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.n := least(NEW.n, (SELECT n FROM items WHERE id = NEW.item));
	RETURN NEW;
END $$;
CREATE TRIGGER check_stock BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION check_stock();
INSERT INTO orders VALUES ('bolt', 9) RETURNING *;
INSERT INTO orders VALUES ('bolt', 9) RETURNING *;
SELECT id, n FROM items ORDER BY id;

-- The other way round: changes of documents are written down in a table.
CREATE TABLE history (seq serial, what text, id text, before int, after int);
CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO history (what, id, before, after) VALUES (TG_WHEN || ' ' || TG_OP, coalesce(NEW.id, OLD.id), OLD.n, NEW.n);
	IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
	IF TG_WHEN = 'BEFORE' THEN NEW.note := TG_OP; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OR DELETE ON items FOR EACH ROW EXECUTE FUNCTION write_down();
CREATE TRIGGER after_row AFTER INSERT OR UPDATE OR DELETE ON items FOR EACH ROW EXECUTE FUNCTION write_down();
EXPLAIN (COSTS OFF) UPDATE items SET n = n + 1 WHERE id = 'nut' AND n < 100;
INSERT INTO items VALUES ('gear', 7);
UPDATE items SET n = n + 1 WHERE n > 4;
DELETE FROM items WHERE id = 'gear';
SELECT what, id, before, after FROM history ORDER BY seq;
SELECT id, doc FROM stock ORDER BY id;

-- A trigger that returns NULL keeps the document from being changed; what it wrote itself stays.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO stock VALUES ('refused ' || OLD.id, '{"n": 0}');
	RETURN NULL;
END $$;
CREATE TRIGGER refuse BEFORE DELETE ON items FOR EACH ROW EXECUTE FUNCTION refuse();
DELETE FROM items WHERE id = 'nut' RETURNING id;
SELECT id FROM stock ORDER BY id;
DROP TRIGGER refuse ON items;

-- A trigger that changes the document which its statement is about to change is refused, as with a table.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE stock SET doc = '{"n": 99}' WHERE id = OLD.id;
	RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION meddle();
UPDATE items SET n = 1 WHERE id = 'nut';
SELECT doc FROM stock WHERE id = 'nut';
DROP TRIGGER meddle ON items;
-- An AFTER trigger may.
CREATE TRIGGER meddle AFTER UPDATE ON items FOR EACH ROW WHEN (NEW.n <> 99) EXECUTE FUNCTION meddle();
UPDATE items SET n = 1 WHERE id = 'nut';
SELECT doc FROM stock WHERE id = 'nut';

-- A deferred trigger sees the end of the transaction.
CREATE FUNCTION none_negative() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM items WHERE n < 0) THEN RAISE EXCEPTION 'there are debts'; END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER none_negative AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION none_negative();
DROP TRIGGER check_stock ON orders;
DROP TRIGGER take ON orders;
BEGIN;
INSERT INTO orders VALUES ('nut', 1);
UPDATE stock SET doc = '{"n": -1}' WHERE id = 'nut';
COMMIT;
BEGIN;
INSERT INTO orders VALUES ('nut', 1);
UPDATE stock SET doc = '{"n": -1}' WHERE id = 'nut';
UPDATE stock SET doc = '{"n": 1}' WHERE id = 'nut';
COMMIT;
SELECT doc FROM stock WHERE id = 'nut';

SELECT docstore.drop_collection('stock');
DROP TABLE orders, history;
DROP FUNCTION take, check_stock, write_down, refuse, meddle, none_negative;
