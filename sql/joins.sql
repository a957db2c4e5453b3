-- Joins as the planner chooses them, without and with ANALYZE: lookups for few rows, a hash for many.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
SELECT docstore.create_collection('parts', false);
CREATE FOREIGN TABLE parts (id text COLLATE "C", n int, kind text) SERVER docstore OPTIONS (collection 'parts');
INSERT INTO parts SELECT 'part/' || lpad(g::text, 6, '0'), g, 'k' || g % 50 FROM generate_series(1, 50000) g;
SELECT docstore.compact('parts');
CREATE TABLE few AS SELECT 'part/' || lpad((g * 317)::text, 6, '0') AS part, g FROM generate_series(1, 100) g;
CREATE TABLE many AS SELECT 'part/' || lpad((g * 317 % 50000)::text, 6, '0') AS part, g FROM generate_series(1, 50000) g;
CREATE TABLE kinds AS SELECT 'k' || g AS kind, g FROM generate_series(1, 50) g;
ANALYZE few, many, kinds;

-- Lookups of single documents.
EXPLAIN (COSTS OFF) SELECT sum(n) FROM few JOIN parts ON id = part;
SELECT sum(n) FROM few JOIN parts ON id = part;
EXPLAIN (COSTS OFF) SELECT sum(n) FROM few LEFT JOIN parts ON id = part AND n > 20000 WHERE g < 10;
SELECT sum(n), count(*) FROM few LEFT JOIN parts ON id = part AND n > 20000 WHERE g < 10;
EXPLAIN (COSTS OFF) SELECT count(*) FROM few WHERE NOT EXISTS (SELECT FROM parts WHERE id = part || 'x');
-- Many: each side is read once.
EXPLAIN (COSTS OFF) SELECT sum(n) FROM many JOIN parts ON id = part;
SELECT sum(n) FROM many JOIN parts ON id = part;
EXPLAIN (COSTS OFF) SELECT k.kind, sum(n) FROM kinds k JOIN parts p USING (kind) GROUP BY 1;
-- Both in the order of ids: a merge.
SET enable_hashjoin = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM parts a JOIN parts b USING (id);
SELECT count(*) FROM parts a JOIN parts b USING (id);
RESET enable_hashjoin;
-- Groups in the order of ids need no sort, nor does DISTINCT; a LIMIT stops early.
SET enable_hashagg = off;
EXPLAIN (COSTS OFF) SELECT id, count(*) FROM parts GROUP BY id LIMIT 5;
EXPLAIN (COSTS OFF) SELECT DISTINCT id FROM parts ORDER BY id DESC LIMIT 5;
RESET enable_hashagg;

-- With ANALYZE it is the same.
ANALYZE parts;
EXPLAIN (COSTS OFF) SELECT sum(n) FROM few JOIN parts ON id = part;
EXPLAIN (COSTS OFF) SELECT sum(n) FROM many JOIN parts ON id = part;
-- A range that leaves little of it is read before its few documents are looked up elsewhere.
EXPLAIN (COSTS OFF) SELECT count(*) FROM parts a JOIN parts b ON b.id = a.id WHERE a.id LIKE 'part/00001%';
SELECT count(*) FROM parts a JOIN parts b ON b.id = a.id WHERE a.id LIKE 'part/00001%';

SET client_min_messages = warning;
DROP TABLE few, many, kinds;
SELECT docstore.drop_collection('parts', true);
