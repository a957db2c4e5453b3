-- Definitions of views: what is refused when it is stored, with the position of the fault; what making and dropping does.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT docstore.create_collection('birds');
CREATE FUNCTION made(map text, key text DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$ SELECT docstore.create_view('faulty', map, '{birds}', key); SELECT 'made' $$;

-- The JSON document.
INSERT INTO docstore.views VALUES ('faulty', '[]');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["birds"], "map": "SELECT 1 AS a", "map": "SELECT 2 AS a"}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["birds"],
 "map": "SELECT \u0000 AS a"}');
INSERT INTO docstore.views VALUES ('faulty', '{"map": "SELECT 1 AS a"}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["birds"]}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": [], "map": "SELECT 1 AS a"}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["birds", "birds"], "map": "SELECT 1 AS a"}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": "birds", "map": "SELECT 1 AS a"}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["birds"], "map": 1}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["birds"], "map": "SELECT 1 AS a", "kee": "a"}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["birds"], "map": "SELECT 1 AS a", "reduce": "SELECT 1"}');
INSERT INTO docstore.views VALUES ('faulty', '{"collections": ["nowhere"], "map": "SELECT 1 AS a"}');
INSERT INTO docstore.views VALUES ('', '{"collections": ["birds"], "map": "SELECT 1 AS a"}');
INSERT INTO docstore.views VALUES (repeat('x', 64), '{"collections": ["birds"], "map": "SELECT 1 AS a"}');

-- Syntax, names, types: the position is one in the map.
SELECT made('SELECT doc->>name FROM docs');
SELECT made('SELEC 1');
SELECT made('SELECT 1 AS a FROM docs WHERE');
SELECT made('SELECT 1 AS a; SELECT 2 AS b');
SELECT made('');
SELECT made('-- nothing');
SELECT made('DELETE FROM docs');
SELECT made('VALUES (1), (2)');
SELECT docstore.drop_view('faulty');
SELECT made('SELECT 1 AS a FROM docs FOR UPDATE');
SELECT made('SELECT 1 AS a INTO b FROM docs');
SELECT made('WITH x AS (DELETE FROM public.birds RETURNING 1 AS a) SELECT a FROM x');
SELECT made('SELECT $1 AS a FROM docs');
SELECT made('SELECT FROM docs');

-- Columns.
SELECT made('SELECT doc->>''name'' AS name, doc->''legs'' FROM docs');
SELECT made('SELECT 1 AS a, 2 AS b, 3 AS a FROM docs');
SELECT made('SELECT id, 1 AS a FROM docs');
SELECT made('SELECT row(1, 2) AS a FROM docs');

-- Other relations.
SELECT made('SELECT 1 AS a FROM birds');
SELECT made('SELECT 1 AS a FROM public.birds');
SELECT made('SELECT 1 AS a FROM docs, pg_catalog.pg_class c');
SELECT made('SELECT (SELECT count(*) FROM pg_class) AS a FROM docs');

-- Functions that depend on more than the document.
SELECT made('SELECT random() AS a FROM docs');
SELECT made('SELECT now() AS a FROM docs');
SELECT made('SELECT current_date AS a FROM docs');
SELECT made('SELECT 1 AS a FROM docs WHERE doc->>''t'' < localtimestamp::text');
SELECT made('SELECT current_user AS a FROM docs');
SELECT made('SELECT date ''today'' AS a FROM docs');
SELECT made('SELECT 1 AS a FROM docs WHERE modified < ''now''');
CREATE TYPE dated AS (n int, at date);
SELECT made('SELECT date E''\x74oday'' AS a FROM docs');
SELECT made('SELECT ''{1999-01-01,Tomorrow}''::date[] AS a FROM docs');
SELECT made('SELECT daterange ''[2020-01-01,now)'' AS a FROM docs');
SELECT made('SELECT ''(1,yesterday)''::public.dated AS a FROM docs');
DROP TYPE dated;
SELECT made('SELECT age(modified) AS a FROM docs');
SELECT made('SELECT age(modified, timestamptz ''2020-01-01'') AS a FROM docs');
SELECT docstore.drop_view('faulty');
SELECT made('SELECT current_setting(''work_mem'') AS a FROM docs');
SELECT made('SELECT to_regclass(''docs'')::text AS a FROM docs');
SELECT made('SELECT a FROM docs, LATERAL (SELECT nextval(''docstore.storage_id_seq'') AS a) s');
CREATE FUNCTION fickle(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION steady(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION firm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
CREATE FUNCTION add_fickle(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 || $2';
CREATE AGGREGATE glue(text) (sfunc = add_fickle, stype = text);
CREATE DOMAIN dicey AS int CHECK (value > random());
SELECT made('SELECT public.fickle(id) AS a FROM docs');
SELECT made('SELECT public.steady(id) AS a FROM docs');
SELECT made('SELECT a FROM docs, LATERAL (SELECT public.glue(x) AS a FROM jsonb_array_elements_text(doc) x) s');
SELECT made('SELECT (doc->>''n'')::public.dicey AS a FROM docs');
-- What a domain checks may be checked; a value that does not fit is an error of its document.
CREATE DOMAIN small_count AS int CHECK (value > 0) CHECK (value < 1000) NOT NULL;
SELECT docstore.create_view('counted', 'SELECT (doc->>''n'')::public.small_count AS n FROM docs', '{birds}', key => 'n');
INSERT INTO birds VALUES ('counted', '{"n": 5}'), ('not counted', '{"n": -5}'), ('uncountable', '{"m": 5}');
SELECT docstore.wait_for_view('counted');
SELECT * FROM counted;
SELECT id, message FROM docstore.view_errors WHERE view = 'counted' AND id LIKE '%count%' ORDER BY id;
DELETE FROM birds WHERE id LIKE '%count%';
SELECT docstore.drop_view('counted');
DROP DOMAIN small_count;
-- Names are found in pg_catalog only.
SELECT made('SELECT firm(id) AS a FROM docs');
SELECT made('SELECT public.firm(id) AS a FROM docs', 'a');
SELECT docstore.drop_view('faulty');

-- The key.
SELECT made('SELECT 1 AS a, doc FROM docs', 'a, b');
SELECT made('SELECT 1 AS a, doc FROM docs', 'a, doc');
SELECT made('SELECT 1 AS a, doc FROM docs', 'a, a DESC');
SELECT made('SELECT 1 AS a, doc FROM docs', 'a + 1');
SELECT made('SELECT 1 AS a, doc FROM docs', 'a USING <');
SELECT made('SELECT 1 AS a, doc FROM docs', 'a DSC');
SELECT made('SELECT 1 AS a, doc FROM docs', 'a LIMIT 1');
SELECT made('SELECT 1 AS a, doc FROM docs', 'a; SELECT 2');
SELECT made('SELECT 1 AS a, doc FROM docs', 'id');
SELECT made('SELECT 1 AS a, doc FROM docs', 'docs.a');

-- Rich ones.  The table's columns have the map's types; text in the key is bytewise.
SELECT docstore.create_view('rich', collections => '{birds}', key => 'kind DESC NULLS LAST, at, "Odd ""name"', map => $$
	WITH facts AS (SELECT id AS bird, doc->>'name' AS name, doc AS d FROM docs)
	SELECT 'bird' AS kind, name, (d->>'seen')::date AS at, (d->>'weight')::numeric(8, 2) AS weight, NULL::int[] AS eggs, 1.5::float4 AS "Odd ""name" FROM facts
	UNION ALL
	SELECT 'chick', c.name, c.hatched, NULL, c.eggs, CASE WHEN c.name ~ 'x' THEN 1 ELSE 2 END
	FROM facts, jsonb_to_recordset(d->'chicks') AS c (name text, hatched date, eggs int[])
	WHERE EXISTS (SELECT FROM jsonb_path_query(d, '$.chicks[*] ? (@.name like_regex "^.")')) -- a comment at the end$$);
\d rich
SELECT name, definition->'key' AS key, definition->'collections' AS collections, owner FROM docstore.views;
SELECT docstore.create_view('rich', 'SELECT 1 AS a FROM docs', '{birds}');

-- Definitions are rows.
BEGIN;
INSERT INTO docstore.views (name, definition) VALUES ('plain', '{"collections": ["birds"], "map": "SELECT doc FROM docs;"}');
SELECT docstore.wait_for_view('plain');
ROLLBACK;
SELECT * FROM plain;
INSERT INTO docstore.views (name, definition) VALUES ('plain', '{"collections": ["birds"], "map": "SELECT doc FROM docs;"}');
UPDATE docstore.views SET definition = definition WHERE name = 'plain';
UPDATE docstore.views SET name = 'simple' WHERE name = 'plain';
SELECT docstore.wait_for_view('plain');
SELECT * FROM plain;
INSERT INTO plain VALUES ('{}', 'x');
UPDATE plain SET doc = '{}';
DELETE FROM plain;
TRUNCATE plain;
SELECT * FROM plain FOR UPDATE;
SELECT plain.id FROM birds, plain FOR UPDATE OF birds;
DELETE FROM docstore.views WHERE name = 'plain';
SELECT * FROM plain;
SELECT docstore.drop_view('plain');
SELECT docstore.wait_for_view('plain');

-- Foreign tables declared elsewhere, and imported.
CREATE SCHEMA elsewhere;
CREATE FOREIGN TABLE elsewhere.part (at date, id text COLLATE "C") SERVER docstore_views OPTIONS (view 'rich');
CREATE FOREIGN TABLE elsewhere.wrong_type (at text) SERVER docstore_views OPTIONS (view 'rich');
CREATE FOREIGN TABLE elsewhere.wrong_name (att date) SERVER docstore_views OPTIONS (view 'rich');
CREATE FOREIGN TABLE elsewhere.nothing (at date) SERVER docstore_views OPTIONS (view 'poor');
CREATE FOREIGN TABLE elsewhere.both (at date) SERVER docstore_views OPTIONS (view 'rich', collection 'birds');
SELECT docstore.wait_for_view('rich');
INSERT INTO birds VALUES ('b/1', '{"name": "rook", "seen": "2020-02-03", "weight": 480, "chicks": [{"name": "x", "hatched": "2020-04-05", "eggs": [1, 2]}, {"name": "y"}]}'), ('b/2', '{"name": "crow"}');
SELECT docstore.wait_for_view('rich');
SELECT * FROM rich ORDER BY kind DESC NULLS LAST, at, "Odd ""name";
SELECT * FROM elsewhere.part ORDER BY at, id;
SELECT * FROM elsewhere.wrong_type;
SELECT * FROM elsewhere.wrong_name;
SELECT * FROM elsewhere.nothing;
IMPORT FOREIGN SCHEMA docstore LIMIT TO (rich) FROM SERVER docstore_views INTO elsewhere;
SELECT count(*) FROM elsewhere.rich;
CREATE SCHEMA views;
CREATE SCHEMA collections;
IMPORT FOREIGN SCHEMA docstore FROM SERVER docstore_views INTO views;
IMPORT FOREIGN SCHEMA docstore FROM SERVER docstore INTO collections;
SELECT foreign_table_schema, foreign_table_name FROM information_schema.foreign_tables WHERE foreign_table_schema IN ('views', 'collections') ORDER BY 1, 2;
DROP SCHEMA views, collections CASCADE;

-- A collection that a view reads.
SELECT docstore.drop_collection('birds');
SELECT docstore.drop_collection('birds', cascade => true);
SELECT * FROM docstore.views;
SELECT * FROM docstore.view_status;
SELECT count(*) FROM docstore.view_progress;
DROP SCHEMA elsewhere CASCADE;
DROP AGGREGATE glue(text);
DROP FUNCTION made, fickle, steady, firm, add_fickle;
DROP DOMAIN dicey;

-- A definition that does not fit into its row of the catalog.
SELECT docstore.create_collection('beans');
INSERT INTO beans VALUES ('b/1', '{}');
SELECT docstore.create_view('wordy', format('SELECT %L AS words FROM docs', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i)), '{beans}');
SELECT docstore.wait_for_view('wordy');
SELECT id, length(words) FROM wordy;
SELECT docstore.drop_collection('beans', cascade => true);

-- A type or collation that is gone pauses the views that have it, and no other; they can be dropped.
SELECT docstore.create_collection('beans');
INSERT INTO beans VALUES ('b/1', '{"pods": 3}');
CREATE DOMAIN pods AS int CHECK (VALUE >= 0);
CREATE TYPE size AS ENUM ('small', 'large');
CREATE COLLATION plainly FROM "C";
SELECT docstore.create_view('by_pods', $$SELECT (doc->>'pods')::public.pods AS pods, doc->>'sort' AS sort FROM docs$$, '{beans}', 'pods');
SELECT docstore.create_view('groups', $$SELECT (doc->>'pods')::public.pods AS pods, 1::bigint AS n FROM docs$$, '{beans}', NULL,
	'SELECT pods, sum(n)::bigint AS n FROM results GROUP BY pods');
SELECT docstore.create_view('sized', $$SELECT 'small'::public.size AS size FROM docs$$, '{beans}');
SELECT docstore.create_view('sorts', $$SELECT (doc->>'sort') COLLATE public.plainly AS sort, 1 AS one FROM docs$$, '{beans}', NULL,
	'SELECT max(sort) AS sort, one FROM results GROUP BY one');
SELECT docstore.create_view('well', $$SELECT (doc->>'pods')::int AS pods FROM docs$$, '{beans}', 'pods');
SELECT docstore.wait_for_view(name) FROM docstore.views;
DROP DOMAIN pods CASCADE;
DROP TYPE size CASCADE;
DROP COLLATION plainly CASCADE;
INSERT INTO beans VALUES ('b/2', '{"pods": 5}');
SELECT docstore.wait_for_view('well');
SELECT * FROM well ORDER BY pods;
SELECT docstore.wait_for_view('by_pods');
SELECT docstore.wait_for_view('groups');
SELECT docstore.wait_for_view('sized');
SELECT docstore.wait_for_view('sorts');
SELECT name, state, reason FROM docstore.view_status ORDER BY name;
SELECT sort, id FROM by_pods;
SELECT * FROM groups;
SELECT * FROM sized;
CREATE SCHEMA views;
IMPORT FOREIGN SCHEMA docstore FROM SERVER docstore_views INTO views;
SELECT foreign_table_name FROM information_schema.foreign_tables WHERE foreign_table_schema = 'views';
DROP SCHEMA views CASCADE;
-- Another definition mends it, and can be waited for.
SELECT docstore.replace_view('sized', $$SELECT (doc->>'pods')::int AS size FROM docs$$, '{beans}', 'size');
SELECT docstore.wait_for_view('sized');
SELECT name, state, reason FROM docstore.view_status WHERE name = 'sized';
SELECT docstore.drop_view('by_pods'), docstore.drop_view('groups'), docstore.drop_view('sized'), docstore.drop_view('sorts');
SELECT docstore.drop_collection('beans', cascade => true);
