-- Seeks: conditions on the id go to the engine, EXPLAIN says which; orders by id need no sort, LIMIT stops early.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('words');
INSERT INTO words SELECT chr(97 + i / 26) || chr(97 + i % 26), jsonb_build_object('n', i) FROM generate_series(0, 675) AS i;
ANALYZE words;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;

-- One document.
EXPLAIN (COSTS OFF) SELECT doc FROM words WHERE id = 'dd';
SELECT doc FROM words WHERE id = 'dd';
EXPLAIN (COSTS OFF) SELECT doc FROM words WHERE 'dd' = id AND doc->>'n' = '81';
SELECT doc FROM words WHERE 'dd' = id AND doc->>'n' = '81';
SELECT doc FROM words WHERE id = 'dd' AND id = 'ee';
SELECT doc FROM words WHERE id = NULL;

-- Some documents: in order, each once.
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE id IN ('zz', 'nope', 'aa', 'aa') ORDER BY id;
SELECT id FROM words WHERE id IN ('zz', 'nope', 'aa', 'aa') ORDER BY id;
SELECT id FROM words WHERE id = ANY ('{zz,aa,NULL,mm}') ORDER BY id DESC;
SELECT id FROM words WHERE id = ANY ('{}');
SELECT id FROM words WHERE id = ANY (NULL);
SELECT count(*) FROM words WHERE id <> ALL ('{aa,zz}');

-- Ranges.
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE id >= 'bx' AND id < 'cb';
SELECT id FROM words WHERE id >= 'bx' AND id < 'cb';
SELECT id FROM words WHERE id > 'bx' AND id <= 'cb';
SELECT id FROM words WHERE id BETWEEN 'zx' AND 'zzz';
SELECT id FROM words WHERE 'zx' < id;
SELECT id FROM words WHERE id > 'zy' AND id < 'aa';
SELECT count(*) FROM words WHERE id > '';
SELECT count(*) FROM words WHERE id < repeat('z', 2000);
SELECT id FROM words WHERE id ~>=~ 'zy' ORDER BY id;

-- Row comparisons: a position by their first column, as for a page that goes on where the last one ended.
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE (id, doc) > ('zx', '{"n": 673}') ORDER BY id, doc LIMIT 2;
SELECT id FROM words WHERE (id, doc) > ('zx', '{"n": 673}') ORDER BY id, doc LIMIT 2;
SELECT id FROM words WHERE (id, doc) >= ('zx', '{"n": 673}') ORDER BY id, doc LIMIT 2;
SELECT id FROM words WHERE (id, 1) < ('ac', 1);
SELECT id FROM words WHERE (id, 1) <= ('ac', 1) AND (id, 0) > ('ab', 1);
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE ('ac', 1) > (id, 1);
SELECT id FROM words WHERE ('ac', 1) > (id, 1);
SELECT count(*) FROM words WHERE (id, 1) > (NULL, 1);
SELECT id FROM words WHERE (id, 1) >= ('zz', NULL);
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE (doc, id) > ('1', 'zx');
-- No id is null.
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE id IS NULL;
SELECT id FROM words WHERE id IS NULL;
SELECT count(*) FROM words WHERE id IS NOT NULL;

-- Prefixes.
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE id LIKE 'q%';
SELECT count(*), min(id), max(id) FROM words WHERE id LIKE 'q%';
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE id LIKE 'q_' AND id > 'qx';
SELECT id FROM words WHERE id LIKE 'q_' AND id > 'qx';
SELECT id FROM words WHERE id LIKE 'qq';
SELECT id FROM words WHERE id LIKE '%q' AND id < 'd';
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE id ^@ 'q';
SELECT count(*) FROM words WHERE id ^@ 'q';
SELECT count(*) FROM words WHERE starts_with(id, 'q');
INSERT INTO words VALUES ('q%', '1'), ('q\', '2'), ('qÿ', '3');
SELECT id FROM words WHERE id LIKE 'q\%' ORDER BY id;
SELECT id FROM words WHERE id LIKE 'q\\' ORDER BY id;
SELECT id FROM words WHERE id LIKE 'qÿ%' ORDER BY id;
SELECT id FROM words WHERE id LIKE 'q\' ORDER BY id;
SELECT count(*) FROM words WHERE id NOT LIKE 'q%';

-- Orders: no sort forwards or backwards, and LIMIT reads no more than it needs.
EXPLAIN (COSTS OFF) SELECT id FROM words ORDER BY id LIMIT 3;
SELECT id FROM words ORDER BY id LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM words ORDER BY id DESC LIMIT 3;
SELECT id FROM words ORDER BY id DESC LIMIT 3;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM words WHERE id > 'm' ORDER BY id LIMIT 3;
SELECT id FROM words WHERE id < 'm' ORDER BY id DESC, doc LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM words ORDER BY id, doc;
EXPLAIN (COSTS OFF) SELECT max(id) FROM words;
SELECT min(id), max(id) FROM words;
-- Another order than the bytes' needs a sort.
EXPLAIN (COSTS OFF) SELECT id FROM words ORDER BY id COLLATE "POSIX";
EXPLAIN (COSTS OFF) SELECT id FROM words ORDER BY doc;

-- Prepared statements, also with a plan for all parameters.
SET plan_cache_mode = force_generic_plan;
PREPARE one(text) AS SELECT doc FROM words WHERE id = $1;
EXPLAIN (COSTS OFF) EXECUTE one('cc');
EXECUTE one('cc');
EXECUTE one('dd');
EXECUTE one(NULL);
PREPARE several(text[]) AS SELECT id FROM words WHERE id = ANY ($1) ORDER BY id;
EXECUTE several('{b,bb,aa}');
PREPARE prefix(text) AS SELECT count(*) FROM words WHERE id LIKE $1;
EXPLAIN (COSTS OFF) EXECUTE prefix('a%');
EXECUTE prefix('a%');
EXECUTE prefix('%a');
EXECUTE prefix(NULL);
RESET plan_cache_mode;

-- Lookups by another table's columns, and by documents of the same collection.
CREATE TABLE picks (n int PRIMARY KEY, word text);
INSERT INTO picks VALUES (1, 'aa'), (2, 'zz'), (3, NULL), (4, 'nope'), (5, 'aa');
ANALYZE picks;
EXPLAIN (COSTS OFF) SELECT n, doc FROM picks JOIN words ON id = word ORDER BY n;
SELECT n, doc FROM picks JOIN words ON id = word ORDER BY n;
SELECT n, doc FROM picks LEFT JOIN words ON id = word ORDER BY n;
SELECT n, (SELECT doc FROM words WHERE id = word) FROM picks ORDER BY n;
SELECT n, w.id FROM picks, LATERAL (SELECT id FROM words WHERE id > word ORDER BY id LIMIT 2) AS w ORDER BY n, w.id;
SELECT n, count(w.id) FROM picks LEFT JOIN words w ON w.id >= word AND w.id < 'ad' GROUP BY n ORDER BY n;
SELECT n FROM picks WHERE EXISTS (SELECT FROM words WHERE id = word) ORDER BY n;
SELECT n FROM picks LEFT JOIN words ON id = word WHERE id IS NULL ORDER BY n;
SELECT n, w.id FROM picks, LATERAL (SELECT id FROM words WHERE (id, n) > (word, 2) ORDER BY id LIMIT 1) AS w ORDER BY n, w.id;
SELECT a.id, b.id FROM words a JOIN words b ON b.id = 'b' || substr(a.id, 2) WHERE a.id LIKE 'cx%' OR a.id LIKE 'cy%' ORDER BY a.id;
SELECT n, w.doc FROM picks JOIN LATERAL (SELECT doc FROM words WHERE id = ANY (ARRAY[word, 'ab'])) AS w ON true WHERE n < 4 ORDER BY n, w.doc->'n';

-- A rescan starts over.
SELECT n, (SELECT count(*) FROM words WHERE id < 'a' || chr(97 + n)) FROM picks ORDER BY n;
SELECT count(*) FROM picks, LATERAL (SELECT id FROM words OFFSET 0) AS w;

-- Under another collation only equality is a position.
CREATE FOREIGN TABLE collated (id text COLLATE "POSIX") SERVER docstore OPTIONS (collection 'words');
EXPLAIN (COSTS OFF) SELECT id FROM collated WHERE id < 'ac' ORDER BY id;
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE FOREIGN TABLE blinded (id text COLLATE blind) SERVER docstore OPTIONS (collection 'words');
EXPLAIN (COSTS OFF) SELECT id FROM blinded WHERE id = 'AA';
SELECT id FROM blinded WHERE id = 'AA';
-- (two ids may then be equal: the planner must not take them for unique)
INSERT INTO words VALUES ('AA', '0');
SELECT id FROM (VALUES ('aA')) AS v (x) JOIN blinded ON id = x COLLATE blind ORDER BY id;
DELETE FROM words WHERE id = 'AA';
CREATE FOREIGN TABLE unsorted (id text COLLATE "en-x-icu") SERVER docstore OPTIONS (collection 'words');
EXPLAIN (COSTS OFF) SELECT id FROM unsorted WHERE id < 'ac' ORDER BY id;
EXPLAIN (COSTS OFF) SELECT id FROM unsorted WHERE id = 'ac';
EXPLAIN (COSTS OFF) SELECT id FROM unsorted WHERE id LIKE 'ac%';
CREATE FOREIGN TABLE varied (id varchar(10) COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'words');
EXPLAIN (COSTS OFF) SELECT id FROM varied WHERE id = 'ac' ORDER BY id;
EXPLAIN (COSTS OFF) SELECT id FROM varied WHERE id > 'zx' ORDER BY id DESC;
SELECT id FROM varied WHERE id > 'zx' ORDER BY id DESC;
UPDATE varied SET doc = '{"varied": true}' WHERE id = 'zz' RETURNING id, doc;

-- Changes find their documents the same way.
EXPLAIN (COSTS OFF) UPDATE words SET doc = '{}' WHERE id = 'aa' AND doc->>'n' = '0';
EXPLAIN (COSTS OFF) DELETE FROM words WHERE id LIKE 'a%';
EXPLAIN (COSTS OFF) SELECT id FROM words WHERE id > 'zz' FOR UPDATE;
DELETE FROM words WHERE id LIKE 'a%';
SELECT count(*), min(id) FROM words;

DROP COLLATION blind CASCADE;
SET client_min_messages = warning;
SELECT docstore.drop_collection('words');
DROP TABLE picks;
