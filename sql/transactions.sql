-- Transactions: documents and rows obey the same BEGIN, COMMIT, ROLLBACK, savepoints and snapshots.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('accounts');
CREATE TABLE journal (n int);

-- Rollback takes back inserts, updates and deletions; documents and rows together.
INSERT INTO accounts VALUES ('a', '{"sum": 1}'), ('b', '{"sum": 2}');
BEGIN;
INSERT INTO accounts VALUES ('c', '{"sum": 3}');
UPDATE accounts SET doc = '{"sum": 10}' WHERE id = 'a';
DELETE FROM accounts WHERE id = 'b';
INSERT INTO journal VALUES (1);
SELECT id, doc FROM accounts ORDER BY id;
ROLLBACK;
SELECT id, doc FROM accounts ORDER BY id;
SELECT count(*) FROM journal;

-- An id that a rolled back transaction used is free.
INSERT INTO accounts VALUES ('c', '{"sum": 4}');
DELETE FROM accounts WHERE id = 'c';

-- A failed statement leaves nothing.
INSERT INTO accounts SELECT x, '{}' FROM unnest('{x,y,a,z}'::text[]) AS x;
INSERT INTO accounts SELECT 'n' || i, jsonb_build_object('i', 1 / (500 - i)) FROM generate_series(1, 1000) AS i;
SELECT id FROM accounts ORDER BY id;

-- Savepoints.
BEGIN;
INSERT INTO accounts VALUES ('s1', '1');
SAVEPOINT one;
INSERT INTO accounts VALUES ('s2', '2');
UPDATE accounts SET doc = '"changed"' WHERE id = 's1';
SAVEPOINT two;
DELETE FROM accounts WHERE id LIKE 's%';
SELECT id, doc FROM accounts WHERE id LIKE 's%' ORDER BY id;
ROLLBACK TO two;
SELECT id, doc FROM accounts WHERE id LIKE 's%' ORDER BY id;
ROLLBACK TO one;
SELECT id, doc FROM accounts WHERE id LIKE 's%' ORDER BY id;
INSERT INTO accounts VALUES ('s2', '"again"');
RELEASE one;
INSERT INTO accounts VALUES ('s1', '"twice"');
ROLLBACK;
BEGIN;
INSERT INTO accounts VALUES ('s1', '1');
SAVEPOINT one;
UPDATE accounts SET doc = '2' WHERE id = 's1';
RELEASE one;
SAVEPOINT two;
UPDATE accounts SET doc = '3' WHERE id = 's1';
ROLLBACK TO two;
COMMIT;
SELECT id, doc FROM accounts WHERE id LIKE 's%';
DELETE FROM accounts WHERE id LIKE 's%';

-- An exception block is a savepoint.
DO $$
BEGIN
	INSERT INTO accounts VALUES ('e1', '1');
	BEGIN
		INSERT INTO accounts VALUES ('e2', '1');
		INSERT INTO accounts VALUES ('e1', '2');
	EXCEPTION WHEN unique_violation THEN
		INSERT INTO accounts VALUES ('e3', '1');
	END;
END $$;
SELECT id FROM accounts WHERE id LIKE 'e%' ORDER BY id;
DELETE FROM accounts WHERE id LIKE 'e%';

-- A cursor sees what was there when it was opened.
BEGIN;
INSERT INTO accounts SELECT 'k' || i, to_jsonb(i) FROM generate_series(1, 5) AS i;
DECLARE stable SCROLL CURSOR FOR SELECT id, doc FROM accounts WHERE id LIKE 'k%' ORDER BY id;
FETCH 2 FROM stable;
UPDATE accounts SET doc = '"later"' WHERE id LIKE 'k%';
DELETE FROM accounts WHERE id = 'k4';
INSERT INTO accounts VALUES ('k31', '"new"');
FETCH 2 FROM stable;
FETCH ALL FROM stable;
FETCH BACKWARD 2 FROM stable;
SELECT id, doc FROM accounts WHERE id LIKE 'k%' ORDER BY id;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM accounts WHERE id LIKE 'k%' ORDER BY id DESC;
COMMIT;
FETCH 2 FROM held;
CLOSE held;
DELETE FROM accounts WHERE id LIKE 'k%';

-- INSERT ... SELECT from the same collection reads what was there before it.
INSERT INTO accounts SELECT 'copy/' || id, doc FROM accounts;
INSERT INTO accounts SELECT 'copy/' || id, doc FROM accounts WHERE id LIKE 'copy/%';
SELECT id, doc FROM accounts ORDER BY id;
DELETE FROM accounts WHERE id LIKE 'copy/%';

-- An UPDATE that moves documents ahead of its own scan meets each once.
INSERT INTO accounts SELECT 'm' || lpad(i::text, 4, '0'), '0' FROM generate_series(1, 500) AS i;
UPDATE accounts SET id = 'mm' || id, doc = to_jsonb((doc::int) + 1) WHERE id LIKE 'm%';
SELECT count(*), min(doc::int), max(doc::int) FROM accounts WHERE id LIKE 'm%';
DELETE FROM accounts WHERE id LIKE 'm%';

-- A volatile function that writes in the middle of a statement: the statement does not see it, the next one does.
CREATE FUNCTION add_account(id text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	seen bigint;
BEGIN
	INSERT INTO accounts VALUES (add_account.id, '"by function"');
	SELECT count(*) INTO seen FROM accounts;
	RETURN seen;
END $$;
SELECT a.id, add_account('f' || a.id) FROM accounts AS a ORDER BY a.id;
SELECT id, doc FROM accounts ORDER BY id;
DELETE FROM accounts WHERE id LIKE 'f%';
-- put does the same.
SELECT a.id, docstore.put('accounts', 'p' || a.id, a.doc) > 0 AS put FROM accounts AS a ORDER BY a.id;
SELECT count(*) FROM accounts WHERE id LIKE 'p%';
DELETE FROM accounts WHERE id LIKE 'p%';

-- One that changes the very documents that its statement changes is refused, as with a table.
CREATE FUNCTION meddle(which text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE accounts SET doc = '"meddled"' WHERE id = which;
	RETURN true;
END $$;
UPDATE accounts SET doc = '"outer"' WHERE id = 'a' AND meddle(id);
SELECT id, doc FROM accounts ORDER BY id;
-- A join that meets a document twice changes it once.
UPDATE accounts SET doc = to_jsonb(n) FROM (VALUES (1), (1)) AS v (n) WHERE id = 'a';
SELECT doc FROM accounts WHERE id = 'a';
DELETE FROM accounts USING generate_series(1, 3) WHERE id = 'b' RETURNING id;

-- Read-only transactions write nothing.
BEGIN READ ONLY;
SELECT count(*) FROM accounts;
SAVEPOINT a;
INSERT INTO accounts VALUES ('r', '{}');
ROLLBACK TO a;
SELECT docstore.put('accounts', 'r', '{}');
ROLLBACK TO a;
SELECT docstore.create_collection('r');
ROLLBACK;

-- A large transaction is seen whole, or not at all.
BEGIN;
INSERT INTO accounts SELECT 'L' || i, jsonb_build_object('i', i, 'pad', repeat('x', 100)) FROM generate_series(1, 20000) AS i;
SELECT count(*) FROM accounts WHERE id LIKE 'L%';
ROLLBACK;
SELECT count(*) FROM accounts WHERE id LIKE 'L%';

-- Parallel plans: workers read tables and documents, uncommitted ones, too.
CREATE TABLE many AS SELECT i, 'p' || i % 100 AS account FROM generate_series(1, 20000) AS i;
ANALYZE many;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
BEGIN;
INSERT INTO accounts SELECT 'p' || i, to_jsonb(i) FROM generate_series(0, 99) AS i;
UPDATE accounts SET doc = '1000' WHERE id = 'p7';
CREATE FUNCTION plan_has(path jsonpath) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE $q$EXPLAIN (FORMAT JSON) SELECT count(*), sum(a.doc::int) FROM many AS m JOIN accounts AS a ON a.id = m.account AND a.doc <> '3'$q$ INTO plan;
	RETURN jsonb_path_exists(plan, path);
END $$;
SELECT plan_has('strict $.** ? (@."Node Type" == "Gather")') AS parallel,
	plan_has('strict $.** ? (@."Node Type" == "Gather").** ? (@."Node Type" == "Foreign Scan")') AS documents_in_worker;
SELECT count(*), sum(a.doc::int) FROM many AS m JOIN accounts AS a ON a.id = m.account AND a.doc <> '3';
SET LOCAL force_parallel_mode = on;
SELECT count(*), max(doc::int) FROM accounts WHERE id LIKE 'p%';
UPDATE accounts SET doc = '0' FROM many AS m WHERE m.account = id AND m.i = 5;
SELECT doc FROM accounts WHERE id = 'p5';
ROLLBACK;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
DROP TABLE many;

SELECT docstore.drop_collection('accounts');
DROP TABLE journal;
DROP FUNCTION add_account;
DROP FUNCTION meddle;
