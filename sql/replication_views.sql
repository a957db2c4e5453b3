-- Replication of a view's rows: what changes in a view changes in ordinary tables.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
SELECT docstore.create_collection('orders');
CREATE SCHEMA shop;
CREATE TABLE shop.sales (row_id text PRIMARY KEY, sku text, qty bigint);
CREATE TABLE shop.lines (row_id text COLLATE "C" PRIMARY KEY, order_id text, sku text, qty int, source text);
CREATE TABLE shop.seen (row_id text, sku text, qty bigint);
CREATE INDEX ON shop.seen (row_id);
CREATE TABLE shop.total (row_id text PRIMARY KEY, qty numeric);
INSERT INTO orders VALUES
	('o/1', '{"lines": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 1}]}'),
	('o/2', '{"lines": [{"sku": "a", "qty": 3}]}');
SELECT docstore.create_view('sales', collections => '{orders}',
	map => $$ SELECT l->>'sku' AS sku, (l->>'qty')::bigint AS qty FROM docs, jsonb_array_elements(doc->'lines') AS l $$,
	reduce => $$ SELECT sku, (sum(qty))::bigint AS qty FROM results GROUP BY sku $$);
SELECT docstore.create_view('lines', collections => '{orders}', key => 'sku',
	map => $$ SELECT l->>'sku' AS sku, (l->>'qty')::int AS qty FROM docs, jsonb_array_elements(doc->'lines') AS l $$);
SELECT docstore.create_view('total', collections => '{orders}',
	map => $$ SELECT (l->>'qty')::numeric AS qty FROM docs, jsonb_array_elements(doc->'lines') AS l $$,
	reduce => $$ SELECT sum(qty) AS qty FROM results $$);

-- Definitions: a view or collections.
INSERT INTO docstore.replications (name, definition) VALUES ('r', '{"collections": ["orders"], "view": "sales",
	"tables": [{"table": "shop.sales", "key": "row_id", "select": "SELECT 1 AS qty FROM docs"}]}');
INSERT INTO docstore.replications (name, definition) VALUES ('r', '{"view": 1, "tables": []}');
INSERT INTO docstore.replications (name, definition) VALUES ('r', '{"tables": [{"table": "shop.sales", "key": "row_id", "select": "SELECT 1 AS qty FROM docs"}]}');
SELECT docstore.create_view_replication('r', 'nothing', '[{"table": "shop.sales", "key": "row_id", "select": "SELECT 1 AS qty FROM docs"}]');
SELECT docstore.create_view_replication('r', 'sales', '[{"table": "shop.sales", "key": "row_id", "select": "SELECT sku FROM docs"}]');

-- What is there comes first: of groups, of rows, of the one total.
SELECT docstore.create_view_replication('sales', 'sales', $$ [
	{"table": "shop.sales", "key": "row_id", "mode": "merge", "select": "SELECT doc->>'sku' AS sku, (doc->>'qty')::bigint AS qty FROM docs"},
	{"table": "shop.seen", "key": "row_id", "mode": "insert_only", "select": "SELECT doc->>'sku' AS sku, (doc->>'qty')::bigint AS qty FROM docs"}
] $$);
SELECT docstore.create_view_replication('lines', 'lines', $$ [{"table": "shop.lines", "key": "row_id", "collection": "source",
	"select": "SELECT doc->>'id' AS order_id, doc->>'sku' AS sku, (doc->>'qty')::int AS qty FROM docs"}] $$);
SELECT docstore.create_view_replication('total', 'total', $$ [{"table": "shop.total", "key": "row_id", "select": "SELECT (doc->>'qty')::numeric AS qty FROM docs"}] $$);
SELECT docstore.wait_for_replication(name) FROM docstore.replications;
SELECT * FROM shop.sales ORDER BY sku;
SELECT order_id, sku, qty, source FROM shop.lines ORDER BY 1, 2;
SELECT * FROM shop.total;
SELECT name, kind, collections, view, changes_behind, time_behind, estimated_bytes >= 0 AS bytes FROM docstore.consumers WHERE kind = 'replication' ORDER BY 1;
SELECT name, state, documents_scanned, errors, rows FROM docstore.replication_status ORDER BY 1;

-- Changed groups only; those without rows go.
UPDATE orders SET doc = '{"lines": [{"sku": "a", "qty": 5}]}' WHERE id = 'o/2';
INSERT INTO orders VALUES ('o/3', '{"lines": [{"sku": "c", "qty": 7}]}');
SELECT docstore.wait_for_replication(name) FROM docstore.replications;
SELECT sku, qty FROM shop.sales ORDER BY sku;
UPDATE orders SET doc = '{"lines": [{"sku": "a", "qty": 2}]}' WHERE id = 'o/1';
DELETE FROM orders WHERE id = 'o/3';
SELECT docstore.wait_for_replication(name) FROM docstore.replications;
SELECT sku, qty FROM shop.sales ORDER BY sku;
SELECT order_id, sku, qty FROM shop.lines ORDER BY 1, 2;
SELECT qty FROM shop.total;
SELECT sku, array_agg(qty ORDER BY qty) FROM shop.seen GROUP BY sku ORDER BY sku;
-- What a paused one lacks, and since when: of groups that changed or are gone.
SELECT docstore.pause_replication('sales');
SELECT docstore.put('orders', 'o/3', '{"lines": [{"sku": "c", "qty": 7}]}') > 0 AS put;
SELECT docstore.wait_for_view('sales');
SELECT changes_behind, time_behind BETWEEN '0' AND '1 hour' AS time FROM docstore.replication_status WHERE name = 'sales';
SELECT docstore.resume_replication('sales');
SELECT docstore.wait_for_replication('sales');
SELECT docstore.pause_replication('sales');
DELETE FROM orders WHERE id = 'o/3';
SELECT docstore.wait_for_view('sales');
SELECT changes_behind, time_behind BETWEEN '0' AND '1 hour' AS time FROM docstore.replication_status WHERE name = 'sales';
SELECT docstore.resume_replication('sales');
SELECT docstore.wait_for_replication(name) FROM docstore.replications;
BEGIN;
INSERT INTO orders VALUES ('never', '{"lines": [{"sku": "z", "qty": 7}]}');
ROLLBACK;
TRUNCATE orders;
INSERT INTO orders VALUES ('o/4', '{"lines": [{"sku": "d", "qty": 4}, {"sku": "d", "qty": 5}, {"sku": "e", "qty": 1}]}');
SELECT docstore.wait_for_replication(name) FROM docstore.replications;
SELECT sku, qty FROM shop.sales ORDER BY sku;
SELECT order_id, sku, qty FROM shop.lines ORDER BY 1, 2, 3;
SELECT qty FROM shop.total;

-- What would another definition do with a row?
SELECT "table", change, row - 'row_id' AS row, error FROM shop.sales, docstore.preview_replication($$ {"view": "sales", "tables": [
	{"table": "shop.sales", "key": "row_id", "select": "SELECT upper(doc->>'sku') AS sku, (doc->>'qty')::bigint AS qty FROM docs"}]} $$, row_id)
WHERE sku = 'd';
SELECT * FROM docstore.preview_replication($$ {"view": "sales", "tables": [
	{"table": "shop.sales", "key": "row_id", "select": "SELECT upper(doc->>'sku') AS sku FROM docs"}]} $$, 'd');
SELECT * FROM docstore.preview_replication($$ {"view": "sales", "tables": [
	{"table": "shop.sales", "key": "row_id", "select": "SELECT upper(doc->>'sku') AS sku FROM docs"}]} $$, '\x00');

-- A row that a table refuses, and a group whose reduce fails, are listed; what the tables had stays.
ALTER TABLE shop.sales ADD CONSTRAINT small CHECK (qty < 100);
SELECT docstore.put('orders', 'o/5', '{"lines": [{"sku": "d", "qty": 91}, {"sku": "f", "qty": 100}]}') > 0 AS put;
INSERT INTO orders SELECT 'big' || g, '{"lines": [{"sku": "e", "qty": 9223372036854775807}]}' FROM generate_series(1, 2) AS g;
SELECT docstore.wait_for_replication('sales');
SELECT collection, "table", sqlstate, message, deleted FROM docstore.replication_errors ORDER BY sqlstate, id;
SELECT sku, qty FROM shop.sales ORDER BY sku;
ALTER TABLE shop.sales DROP CONSTRAINT small;
SELECT docstore.retry_replication('sales') AS retried;
DELETE FROM orders WHERE id LIKE 'big%';
DO $$ BEGIN
	WHILE EXISTS (SELECT FROM docstore.replication_errors WHERE replication = 'sales') LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT docstore.wait_for_replication('sales');
SELECT sku, qty FROM shop.sales ORDER BY sku;

-- Other tables take effect with the next change; another source does not.
UPDATE docstore.replications SET definition = $$ {"view": "total", "on_error": "stop", "tables": [
	{"table": "shop.total", "key": "row_id", "select": "SELECT - (doc->>'qty')::numeric AS qty FROM docs"}]} $$ WHERE name = 'total';
SELECT docstore.put('orders', 'o/6', '{"lines": [{"sku": "g", "qty": 1}]}') > 0 AS put;
SELECT docstore.wait_for_replication('total');
SELECT qty FROM shop.total;
UPDATE docstore.replications SET definition = replace(definition::text, '"total",', '"sales",')::json WHERE name = 'total';
SELECT docstore.replace_replication('total', '{orders}', '[{"table": "shop.total", "key": "row_id", "select": "SELECT 1 AS qty FROM docs"}]');

-- A pause keeps the changes.  A reset begins anew.
SELECT docstore.pause_replication('lines');
SELECT docstore.put('orders', 'o/7', '{"lines": [{"sku": "h", "qty": 1}]}') > 0 AS put;
SELECT docstore.wait_for_replication('lines');
SELECT docstore.resume_replication('lines');
SELECT docstore.wait_for_replication('lines');
SELECT order_id, sku, qty FROM shop.lines ORDER BY 1, 2, 3;
UPDATE shop.lines SET qty = 0;
SELECT docstore.reset_replication('lines');
SELECT docstore.wait_for_replication('lines');
SELECT order_id, sku, qty FROM shop.lines ORDER BY 1, 2, 3;

-- Another definition of the view, or another finalize: all rows anew.
SELECT docstore.replace_view('sales', collections => '{orders}',
	map => $$ SELECT l->>'sku' AS sku, (l->>'qty')::bigint AS qty FROM docs, jsonb_array_elements(doc->'lines') AS l WHERE l->>'sku' < 'g' $$,
	reduce => $$ SELECT sku, (sum(qty))::bigint AS qty FROM results GROUP BY sku $$);
SELECT docstore.wait_for_replication('sales');
SELECT sku, qty FROM shop.sales ORDER BY sku;
SELECT docstore.replace_view('sales', collections => '{orders}',
	map => $$ SELECT l->>'sku' AS sku, (l->>'qty')::bigint AS qty FROM docs, jsonb_array_elements(doc->'lines') AS l WHERE l->>'sku' < 'g' $$,
	reduce => $$ SELECT sku, (sum(qty))::bigint AS qty FROM results GROUP BY sku $$,
	finalize => $$ SELECT sku, qty * 10 AS qty FROM results $$);
SELECT docstore.wait_for_replication('sales');
SELECT sku, qty FROM shop.sales ORDER BY sku;
SELECT docstore.put('orders', 'o/8', '{"lines": [{"sku": "f", "qty": 1}]}') > 0 AS put;
SELECT docstore.wait_for_replication('sales');
SELECT sku, qty FROM shop.sales ORDER BY sku;
SELECT count(*) > 5 AS "rows that were only inserted stay" FROM shop.seen;

-- A key that indexes do not take stops a replication until it is gone.
INSERT INTO orders SELECT 'long', jsonb_build_object('lines', jsonb_build_array(jsonb_build_object('sku', repeat('f', 2000), 'qty', 1)));
DO $$ BEGIN
	WHILE NOT EXISTS (SELECT FROM docstore.replication_status WHERE name = 'sales' AND state = 'stopped') LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT sqlstate, reason FROM docstore.replication_status WHERE name = 'sales';
DELETE FROM orders WHERE id = 'long';
SELECT docstore.wait_for_view('sales');
SELECT docstore.resume_replication('sales');
SELECT docstore.wait_for_replication('sales');
SELECT sku, qty FROM shop.sales ORDER BY sku;

-- A view that is read stays; dropping the replication does away with its changes.
SELECT docstore.drop_view('lines');
SELECT docstore.drop_replication('lines', remove_rows => true);
SELECT * FROM shop.lines;
SELECT docstore.drop_view('lines');

-- Rights: the view's owner, who may write the tables.
CREATE ROLE docstore_repl_c;
GRANT USAGE ON SCHEMA shop, docstore TO docstore_repl_c;
CREATE TABLE shop.theirs (row_id text PRIMARY KEY, qty bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.theirs TO docstore_repl_c;
GRANT USAGE ON FOREIGN SERVER docstore TO docstore_repl_c;
SET ROLE docstore_repl_c;
SELECT docstore.create_view_replication('theirs', 'sales', '[{"table": "shop.theirs", "key": "row_id", "select": "SELECT (doc->>''qty'')::bigint AS qty FROM docs"}]');
RESET ROLE;
SELECT docstore.set_owner('orders', 'docstore_repl_c');
UPDATE docstore.views SET owner = 'docstore_repl_c' WHERE name = 'total';
SET ROLE docstore_repl_c;
SELECT docstore.create_view_replication('theirs', 'total', '[{"table": "shop.theirs", "key": "row_id", "select": "SELECT (doc->>''qty'')::bigint AS qty FROM docs"}]');
SELECT docstore.wait_for_replication('theirs');
RESET ROLE;
SELECT qty FROM shop.theirs;
UPDATE docstore.views SET owner = current_user::regrole WHERE name = 'total';
SELECT docstore.put('orders', 'o/9', '{"lines": [{"sku": "a", "qty": 1}]}') > 0 AS put;
DO $$ BEGIN
	WHILE NOT EXISTS (SELECT FROM docstore.replication_status WHERE state = 'stopped') LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT name, state, sqlstate, reason FROM docstore.replication_status WHERE name = 'theirs';

-- What goes with the collection, or with an owner; also while a view that is read gets another definition.
SELECT docstore.drop_collection('orders');
SELECT docstore.pause_view('sales');
SELECT docstore.replace_view('sales', collections => '{orders}', map => $$ SELECT doc->>'sku' AS sku, 1::bigint AS qty FROM docs $$,
	reduce => $$ SELECT sku, (sum(qty))::bigint AS qty FROM results GROUP BY sku $$);
BEGIN;
SELECT docstore.set_owner('orders', 'docstore_repl_c');
ALTER FOREIGN TABLE orders OWNER TO docstore_repl_c;
UPDATE docstore.views SET owner = 'docstore_repl_c';
UPDATE docstore.replications SET owner = 'docstore_repl_c';
SAVEPOINT owned;
-- (without CASCADE not if another role has a foreign table over the view)
DROP OWNED BY docstore_repl_c;
ROLLBACK TO owned;
ALTER FOREIGN TABLE sales OWNER TO docstore_repl_c;
ALTER FOREIGN TABLE total OWNER TO docstore_repl_c;
SAVEPOINT owned;
DROP OWNED BY docstore_repl_c;
SELECT name FROM docstore.views;
ROLLBACK TO owned;
DROP OWNED BY docstore_repl_c CASCADE;
SELECT name FROM docstore.views;
ROLLBACK;
SELECT docstore.drop_collection('orders', cascade => true);
SELECT name FROM docstore.views;
SELECT name FROM docstore.replications;
SELECT name FROM docstore.consumers;
DROP OWNED BY docstore_repl_c;
DROP ROLE docstore_repl_c;
DROP SCHEMA shop CASCADE;
