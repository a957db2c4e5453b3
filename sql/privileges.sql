-- Privileges of columns, views with their invoker's rights, and what barriers keep from functions of the user's.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
DROP ROLE IF EXISTS docstore_ada, docstore_eve;
RESET client_min_messages;
CREATE ROLE docstore_ada;
CREATE ROLE docstore_eve;
CREATE SCHEMA work;
GRANT ALL ON SCHEMA work TO PUBLIC;
SET search_path = work;
SET ROLE docstore_ada;
SELECT docstore.create_collection('staff', create_table => false);
CREATE FOREIGN TABLE staff (id text COLLATE "C", doc jsonb, name text, salary int, owner text) SERVER docstore OPTIONS (collection 'staff');
INSERT INTO staff (id, name, salary, owner) SELECT 's' || i, 'n' || i, i * 100, CASE WHEN i % 2 = 0 THEN 'eve' ELSE 'ada' END FROM generate_series(1, 6) i;

-- Columns: what is not granted is neither read, nor written, nor used in a condition.
GRANT SELECT (id, name), UPDATE (name), INSERT (id, name) ON staff TO docstore_eve;
SET ROLE docstore_eve;
SELECT id, name FROM staff WHERE id = 's1';
SELECT id FROM staff WHERE salary > 100;
SELECT * FROM staff;
SELECT staff FROM staff;
SELECT id FROM staff ORDER BY salary;
UPDATE staff SET name = 'changed' WHERE id = 's1' RETURNING id, name;
UPDATE staff SET salary = 1 WHERE id = 's1';
UPDATE staff SET name = salary::text WHERE id = 's1';
UPDATE staff SET name = 'x' WHERE id = 's1' RETURNING salary;
INSERT INTO staff (id, name) VALUES ('s7', 'n7');
INSERT INTO staff (id, salary) VALUES ('s8', 8);
INSERT INTO staff (id, doc) VALUES ('s8', '{}');
COPY staff (id, name) TO STDOUT;
COPY staff (id, salary) TO STDOUT;
COPY staff TO STDOUT;
DELETE FROM staff;
SELECT id FROM staff FOR UPDATE;
-- An UPDATE of one column leaves the rest of the document alone.
SET ROLE docstore_ada;
SELECT doc FROM staff WHERE id IN ('s1', 's7') ORDER BY id;
DELETE FROM staff WHERE id = 's7';

-- A view has its owner's rights, or its invoker's.
CREATE VIEW names AS SELECT id, name, salary FROM staff;
CREATE VIEW names_invoker WITH (security_invoker) AS SELECT id, name, salary FROM staff;
GRANT SELECT, UPDATE ON names, names_invoker TO docstore_eve;
SET ROLE docstore_eve;
SELECT * FROM names WHERE id = 's2';
SELECT * FROM names_invoker WHERE id = 's2';
SELECT id, name FROM names_invoker WHERE id = 's2';
UPDATE names SET salary = salary + 1 WHERE id = 's2' RETURNING id, salary;
UPDATE names_invoker SET salary = 1 WHERE id = 's2';

-- A barrier's condition comes before any of the user's, other than those that give nothing away.
SET ROLE docstore_ada;
CREATE VIEW mine WITH (security_barrier) AS SELECT id, name, salary FROM staff WHERE owner = 'eve';
GRANT SELECT, UPDATE ON mine TO docstore_eve;
SET ROLE docstore_eve;
CREATE FUNCTION leak(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked %', what; RETURN true; END $$;
CREATE FUNCTION leak_safe(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 PARALLEL SAFE AS $$ BEGIN RAISE NOTICE 'leaked %', what; RETURN true; END $$;
SELECT id FROM mine WHERE leak(name) ORDER BY id;
SELECT id FROM mine WHERE leak(name) AND id = 's1';
SELECT id FROM mine WHERE leak(name) AND id IN ('s1', 's2');
SELECT id FROM mine WHERE leak(name) AND id > 's4' ORDER BY id DESC;
SELECT id FROM mine WHERE salary / (salary - 100) > 0 ORDER BY id;
UPDATE mine SET name = 'mine' WHERE leak(name) AND id < 's3' RETURNING id;
SELECT m.id FROM mine m, mine o WHERE leak(m.name || o.name) AND m.id = o.id AND o.id = 's1';
-- (= and ^@ of text give nothing away, so they may be seeks; LIKE is not marked so.)
EXPLAIN (COSTS OFF) SELECT id FROM mine WHERE id = 's1';
EXPLAIN (COSTS OFF) SELECT id FROM mine WHERE id LIKE 's1%';
EXPLAIN (COSTS OFF) SELECT id FROM mine WHERE id ^@ 's1';
-- Nor do statistics give it away.
RESET ROLE;
ANALYZE staff;
SET ROLE docstore_eve;
EXPLAIN (COSTS OFF) SELECT id FROM mine WHERE leak(name);
-- In a worker it is the same.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT count(*) FROM mine WHERE leak_safe(name);
SET max_parallel_workers = 0;
SELECT count(*) FROM mine WHERE leak_safe(name);
RESET max_parallel_workers;
SELECT count(*) FROM names WHERE id < 's3';

-- Policies of a partitioned table hold for the documents of its partitions, too.
SET ROLE docstore_ada;
SELECT docstore.create_collection('early', create_table => false);
CREATE TABLE notes (id text COLLATE "C", owner text, n int) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE notes_early PARTITION OF notes FOR VALUES FROM ('a') TO ('m') SERVER docstore OPTIONS (collection 'early');
CREATE TABLE notes_late PARTITION OF notes FOR VALUES FROM ('m') TO ('zz');
INSERT INTO notes VALUES ('a1', 'docstore_eve', 1), ('a2', 'docstore_ada', 2), ('n1', 'docstore_eve', 3), ('n2', 'docstore_ada', 4);
GRANT ALL ON notes TO docstore_eve;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = current_user);
CREATE POLICY small ON notes AS RESTRICTIVE FOR UPDATE WITH CHECK (n < 10);
SET ROLE docstore_eve;
SELECT * FROM notes WHERE leak(id) ORDER BY id;
UPDATE notes SET n = n + 1 WHERE leak(id) RETURNING *;
UPDATE notes SET owner = 'docstore_ada' WHERE id = 'a1';
UPDATE notes SET n = 10 WHERE id = 'a1';
UPDATE notes SET n = 9 WHERE id > 'a' RETURNING *;
INSERT INTO notes VALUES ('b1', 'docstore_ada', 1);
INSERT INTO notes VALUES ('b1', 'docstore_eve', 10), ('b2', 'docstore_eve', 20);
INSERT INTO notes VALUES ('b3', 'docstore_eve', 10), ('b4', 'docstore_ada', 20);
-- (a row that moves to the collection, and what MERGE adds to it)
UPDATE notes SET id = 'c1', owner = 'docstore_ada' WHERE id = 'n1';
UPDATE notes SET id = 'c1', n = 10 WHERE id = 'n1';
UPDATE notes SET id = 'c1' WHERE id = 'n1' RETURNING *;
MERGE INTO notes USING (VALUES ('d1', 'docstore_ada', 5), ('n3', 'docstore_eve', 5)) v (id, owner, n) ON notes.id = v.id AND notes.id > 'm'
	WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.owner, v.n);
MERGE INTO notes USING (VALUES ('d1', 'docstore_eve', 5), ('n3', 'docstore_eve', 5)) v (id, owner, n) ON notes.id = v.id AND notes.id > 'm'
	WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.owner, v.n);
DELETE FROM notes WHERE id IN ('a2', 'b2') RETURNING *;
SET ROLE docstore_ada;
SELECT tableoid::regclass, * FROM notes ORDER BY id;

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA work CASCADE;
DROP OWNED BY docstore_ada, docstore_eve;
DROP ROLE docstore_ada, docstore_eve;
