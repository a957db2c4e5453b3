-- COPY: in and out, with typed columns, triggers, errors and partitions.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;

SELECT docstore.create_collection('birds');
CREATE FOREIGN TABLE bird_facts (id text COLLATE "C", legs int, name text OPTIONS (path 'names.en')) SERVER docstore OPTIONS (collection 'birds');

COPY birds (id, doc) FROM STDIN;
rook	{"legs": 2, "names": {"en": "Rook"}}
owl	{"legs": 2}
\.
COPY bird_facts (id, legs, name) FROM STDIN WITH (FORMAT csv);
wren,2,Wren
emu,,
\.
COPY birds (id, doc) TO STDOUT;
COPY (SELECT id, legs, name FROM bird_facts ORDER BY id DESC) TO STDOUT;

-- What a dump holds can be read again: etag and modified are taken and ignored.
COPY birds (id, doc, etag, modified) FROM STDIN;
kiwi	{}	1	2001-01-01 00:00:00+00
\.
SELECT id, etag > 1 AS own_etag, modified > '2020-01-01' AS own_time FROM birds WHERE id = 'kiwi';

-- An error names its line, and nothing of the COPY stays.
COPY birds (id, doc) FROM STDIN;
tit	{}
rook	{}
jay	{}
\.
COPY birds (id, doc) FROM STDIN;
tit	{}
jay	{"legs":
\.
COPY birds (id, doc) FROM STDIN;
tit	{}
\N	{}
\.
COPY birds (id, doc) FROM STDIN;
tit	{}
tit	{"twice": true}
\.
SELECT count(*) FROM birds;

-- In a transaction, after which all is gone.
BEGIN;
COPY birds (id, doc) FROM STDIN;
tit	{}
jay	{}
\.
SELECT id FROM birds WHERE id IN ('jay', 'tit') ORDER BY id;
COPY birds (id, doc) FROM STDIN;
swan	{}
\.
UPDATE birds SET doc = '{"here": true}' WHERE id = 'tit' RETURNING id;
ROLLBACK;
SELECT count(*) FROM birds;

-- A trigger that looks at the collection while it is loaded.
CREATE FUNCTION numbered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.doc := NEW.doc || jsonb_build_object('before', (SELECT count(*) FROM birds WHERE id LIKE 'n%'));
	RETURN NEW;
END $$;
CREATE TRIGGER numbered BEFORE INSERT ON birds FOR EACH ROW EXECUTE FUNCTION numbered();
COPY birds (id, doc) FROM STDIN;
n1	{}
n2	{}
\.
DROP TRIGGER numbered ON birds;
SELECT id, doc FROM birds WHERE id LIKE 'n%' ORDER BY id;
COPY birds (id, doc) FROM STDIN WHERE id <> 'n4';
n3	{}
n4	{}
\.
SELECT id FROM birds WHERE id LIKE 'n%' ORDER BY id;

-- Rows are written in batches, in the order of their ids; an error names the line that it is about.
COPY bird_facts (id, legs) FROM PROGRAM 'seq -f "m%04g,2" 200 -1 1' WITH (FORMAT csv);
SELECT count(*), sum(legs) FROM bird_facts WHERE id LIKE 'm%';
SELECT a.etag < b.etag AS ordered FROM birds a, birds b WHERE a.id = 'm0199' AND b.id = 'm0200';
DELETE FROM birds WHERE id LIKE 'm%' AND id <> 'm0130';
COPY bird_facts (id, legs) FROM PROGRAM 'seq -f "m%04g,2" 1 200' WITH (FORMAT csv);
COPY bird_facts (id, legs) FROM PROGRAM 'seq -f "m%04g,2" 1 129; echo m0500,x' WITH (FORMAT csv);
COPY bird_facts (id, legs) FROM PROGRAM 'seq -f "k%04g,2" 1 100; echo k0007,3; seq -f "l%04g,2" 1 100' WITH (FORMAT csv);
SELECT count(*) FROM birds WHERE id ~ '^[klm]\d';
-- ... but one by one where something might look for them: in the condition, in a default, in a trigger of the statement.
CREATE FUNCTION so_far(pattern text) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT count(*) FROM birds WHERE id LIKE pattern $$;
COPY bird_facts (id) FROM PROGRAM 'seq -f "v%02g" 1 9' WHERE so_far('v%') < 3;
SELECT id FROM birds WHERE id LIKE 'v%' ORDER BY id;
CREATE FOREIGN TABLE counted (id text COLLATE "C", n int DEFAULT so_far('w%')) SERVER docstore OPTIONS (collection 'birds');
COPY counted (id) FROM PROGRAM 'seq -f "w%02g" 1 3';
SELECT * FROM counted WHERE id LIKE 'w0%' ORDER BY id;
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', so_far('x%'); RETURN NULL; END $$;
CREATE TRIGGER say AFTER INSERT ON bird_facts FOR EACH STATEMENT EXECUTE FUNCTION say();
COPY bird_facts (id) FROM PROGRAM 'seq -f "x%02g" 1 3';
DROP FUNCTION say CASCADE;
-- Constraints are tested row by row all the same; batch_size 1 makes it one by one.
CREATE FOREIGN TABLE legged (id text COLLATE "C", legs int CHECK (legs < 5)) SERVER docstore OPTIONS (collection 'birds', batch_size '1');
COPY legged FROM PROGRAM 'seq -f "y%02g,2" 9 -1 1' WITH (FORMAT csv);
SELECT a.etag > b.etag AS as_they_came FROM birds a, birds b WHERE a.id = 'y01' AND b.id = 'y02';
ALTER FOREIGN TABLE legged OPTIONS (DROP batch_size);
COPY legged FROM PROGRAM 'seq -f "z%02g,2" 1 9; echo z10,6; echo z11,1' WITH (FORMAT csv);
SELECT count(*) FROM birds WHERE id LIKE 'z%';
DELETE FROM birds WHERE id ~ '^[mvwxy]\d';

-- Collections as partitions: rows find their way, and cannot leave their bounds.
SELECT docstore.create_collection('north', create_table => false), docstore.create_collection('south', create_table => false);
CREATE TABLE places (id text COLLATE "C", region text, doc jsonb) PARTITION BY LIST (region);
CREATE FOREIGN TABLE places_north PARTITION OF places FOR VALUES IN ('north') SERVER docstore OPTIONS (collection 'north');
CREATE FOREIGN TABLE places_south PARTITION OF places FOR VALUES IN ('south') SERVER docstore OPTIONS (collection 'south');
CREATE TABLE places_else PARTITION OF places DEFAULT;
COPY places (id, region, doc) FROM STDIN;
oslo	north	{"fjord": true}
cadiz	south	{}
berlin	middle	{}
\.
INSERT INTO places VALUES ('turku', 'north', '{}'), ('faro', 'south', '{}') RETURNING tableoid::regclass, id, region, doc;
-- ... also as they come from a dump of the whole, which may have held them in a table.
SET check_function_bodies = off;
COPY places (id, region, doc) FROM STDIN;
bergen	north	{"fjord": true}
\.
RESET check_function_bodies;
DELETE FROM places WHERE id = 'bergen' RETURNING tableoid::regclass, *;
SELECT tableoid::regclass, * FROM places ORDER BY id;
UPDATE places SET doc = doc || '{"seen": true}' WHERE id IN ('oslo', 'cadiz', 'berlin') RETURNING tableoid::regclass, id, doc;
UPDATE places SET region = 'north' WHERE id = 'berlin' RETURNING tableoid::regclass, *;
INSERT INTO places_north VALUES ('lagos', 'south', '{}');
-- What a row's own function looks for are the rows before it, wherever in the statement it stands; not so PostgreSQL's own.
CREATE FUNCTION placed(text) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT jsonb_build_object('n', count(*)) FROM places WHERE id LIKE $1); END $$;
INSERT INTO places (id, region, doc) VALUES ('values1', 'north', placed('v%')), ('values2', 'north', placed('v%'));
INSERT INTO places_north (id, region, doc) VALUES ('values3', 'north', placed('v%')), ('values4', 'north', placed('v%'));
INSERT INTO places_north (id, region, doc) SELECT 'select' || i, 'north', placed('s%') FROM generate_series(1, 2) i;
INSERT INTO places_north (id, region, doc) SELECT 'where' || i, 'north', '{}' FROM generate_series(1, 3) i WHERE (placed('where%')->>'n')::int < 2;
INSERT INTO places_north (id, region, doc) SELECT 'join' || i, 'north', n FROM generate_series(1, 2) i, placed('j%' || left(i::text, 0)) n;
INSERT INTO places_north (id, region, doc) SELECT 'sub' || i, 'north', (SELECT placed('sub%' || left(i::text, 0)) OFFSET 0) FROM generate_series(1, 2) i;
INSERT INTO places_north (id, region, doc) SELECT 'from' || i, 'north', n FROM placed('f%') n, generate_series(1, 2) i;
SELECT id, doc->'n' AS n FROM places_north WHERE id > 'v' OR id ~ '^[jfs].*\d' ORDER BY id;
EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO places_north (id, doc) SELECT 'select' || i, placed('s%') FROM generate_series(1, 2) i;
EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO places_north (id, doc) SELECT random()::text, n FROM placed('s%') n;
DELETE FROM places_north WHERE id > 'v' OR id ~ '^[jfs].*\d';
DROP FUNCTION placed;
DELETE FROM places WHERE region = 'south' RETURNING id;
SELECT tableoid::regclass, id, region FROM places ORDER BY id;
DROP TABLE places;

-- Many rows, in one statement and out again.
CREATE TABLE many AS SELECT 'id' || i AS id, jsonb_build_object('n', i, 'square', i::bigint * i) AS doc FROM generate_series(1, 3000) AS i;
INSERT INTO birds SELECT * FROM many;
SELECT count(*) FROM birds b JOIN many m ON m.id = b.id AND m.doc = b.doc;
SELECT count(DISTINCT etag) FROM birds WHERE id LIKE 'id%';

SELECT docstore.drop_collection('birds'), docstore.drop_collection('north'), docstore.drop_collection('south');
DROP TABLE many;
DROP FUNCTION numbered, so_far(text) CASCADE;
