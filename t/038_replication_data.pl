# Real document sets with nested arrays become three related tables each; questions with their true answers are asked of the
# plain tables: after the first scan, and after many documents were changed, deleted and put back, with a crash in between.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DataSets;
use Test::More;

need_sets();

my $node = PostgreSQL::Test::Cluster->new('replication_data');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '1MB'
jit = off
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
my @sets = qw(movies nyc_restaurants);
sql(q{
	CREATE EXTENSION docstore;
	CREATE SCHEMA d;
	CREATE TABLE d.films (id text COLLATE "C" PRIMARY KEY, title text COLLATE "C" NOT NULL, year int NOT NULL, names int NOT NULL);
	CREATE TABLE d.casts (id text COLLATE "C" REFERENCES d.films, name text COLLATE "C", PRIMARY KEY (id, name));
	CREATE TABLE d.genres (id text COLLATE "C" REFERENCES d.films, genre text COLLATE "C", PRIMARY KEY (id, genre));
	CREATE DOMAIN d.borough AS text COLLATE "C" CHECK (value <> '');
	CREATE TYPE d.kind AS ENUM ('Feature', 'Point');
	CREATE TABLE d.restaurants (id text COLLATE "C" PRIMARY KEY, name text COLLATE "C", borough d.borough, cuisine text COLLATE "C");
	CREATE TABLE d.inspections (number bigint GENERATED ALWAYS AS IDENTITY, id text COLLATE "C" REFERENCES d.restaurants DEFERRABLE, nth int, at date,
		grade text COLLATE "C", score int, year int GENERATED ALWAYS AS (extract(year FROM at)::int) STORED, PRIMARY KEY (id, nth)) PARTITION BY HASH (id);
	CREATE TABLE d.inspections_0 PARTITION OF d.inspections FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE d.inspections_1 PARTITION OF d.inspections FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	CREATE TABLE d.places (id text COLLATE "C" PRIMARY KEY REFERENCES d.restaurants, kind d.kind, at numeric[], zip text)});
sql("SELECT docstore.create_collection('$_')") for @sets;
load_set($node, $_) for @sets;

# The inspections are written before the restaurants that they refer to: their key is deferrable.
sql(q{SELECT docstore.create_replication('films', '{movies}', $r$[
	{"table": "d.films", "key": "id", "mode": "merge",
	 "select": "SELECT doc->>'title' AS title, (doc->>'year')::int AS year, jsonb_array_length(doc->'cast') AS names FROM docs"},
	{"table": "d.casts", "key": "id", "mode": "merge", "select": "SELECT DISTINCT name FROM docs, jsonb_array_elements_text(doc->'cast') AS x(name)"},
	{"table": "d.genres", "key": "id", "select": "SELECT DISTINCT genre FROM docs, jsonb_array_elements_text(doc->'genres') AS x(genre)"}]$r$)});
sql(q{SELECT docstore.create_replication('restaurants', '{nyc_restaurants}', $r$[
	{"table": "d.inspections", "key": "id",
	 "select": "SELECT nth::int, (g->>'date')::date AS at, g->>'grade' AS grade, (g->>'score')::int AS score FROM docs, jsonb_array_elements(doc->'grades') WITH ORDINALITY AS x(g, nth)"},
	{"table": "d.restaurants", "key": "id", "select": "SELECT doc->>'name' AS name, doc->>'borough' AS borough, doc->>'cuisine' AS cuisine FROM docs"},
	{"table": "d.places", "key": "id", "select": "SELECT (doc#>>'{address,coord,type}')::d.kind AS kind, ARRAY[doc#>'{address,coord,coordinates,0}', doc#>'{address,coord,coordinates,1}']::numeric[] AS at, doc#>>'{address,zipcode}' AS zip FROM docs WHERE doc#>'{address,coord}' IS NOT NULL"}]$r$)});

sub ask
{
	my ($when) = @_;
	sql("SELECT docstore.wait_for_replication('$_', '200 s')") for qw(films restaurants);
	note($when);
	question($node, 'movies.1_per_decade', 'SELECT year / 10 * 10 AS decade, count(*) FROM d.films GROUP BY 1 ORDER BY 1');
	question($node, 'movies.2_top_cast', 'SELECT name, count(*) AS n FROM d.casts GROUP BY 1 ORDER BY n DESC, name LIMIT 25');
	question($node, 'movies.3_genres', 'SELECT genre, count(*) AS n, round(avg(names), 4) FROM d.genres JOIN d.films USING (id) GROUP BY 1 ORDER BY n DESC, genre');
	question($node, 'movies.4_co_stars', 'SELECT a.name, b.name, count(*) AS n FROM d.casts AS a JOIN d.casts AS b ON a.id = b.id AND a.name < b.name
		GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT 20');
	question($node, 'movies.5_same_title', 'SELECT title, count(*) AS n, min(year), max(year) FROM d.films GROUP BY 1 HAVING count(*) >= 6 ORDER BY n DESC, title');
	question($node, 'nyc_restaurants.1_per_borough', 'SELECT borough, count(*) AS n FROM d.restaurants GROUP BY 1 ORDER BY n DESC, borough');
	question($node, 'nyc_restaurants.2_per_cuisine', 'SELECT cuisine, count(*) AS n, count(DISTINCT borough) FROM d.restaurants GROUP BY 1 ORDER BY n DESC, cuisine');
	question($node, 'nyc_restaurants.3_inspections_per_borough', 'SELECT borough, count(DISTINCT r.id), count(nth), count(score), round(avg(score), 4)
		FROM d.restaurants AS r LEFT JOIN d.inspections USING (id) GROUP BY 1 ORDER BY 1');
	question($node, 'nyc_restaurants.4_grade_per_year', 'SELECT year, grade, count(*) FROM d.inspections GROUP BY 1, 2 ORDER BY 1, 2');
	question($node, 'nyc_restaurants.5_worst_score', 'SELECT id, name, borough, max(score) AS worst FROM d.restaurants JOIN d.inspections USING (id)
		GROUP BY 1, 2, 3 HAVING max(score) >= 80 ORDER BY worst DESC, id');
	is(sql(q{SELECT count(*) FROM (SELECT id, doc#>>'{address,zipcode}' FROM nyc_restaurants WHERE doc#>'{address,coord}' IS NOT NULL
		EXCEPT SELECT id, zip FROM d.places) AS x}), '0', 'places');
	is(sql('SELECT count(*) FROM docstore.replication_errors'), '0', 'no errors');
}
ask('after the first scan');

my $kept = 'hashtext(id) % 10 = 0';
for my $set (@sets)
{
	my $nested = $set eq 'movies' ? 'cast' : 'grades';
	sql(qq{CREATE TABLE kept_$set AS SELECT id, doc FROM $set WHERE $kept;
		DELETE FROM $set WHERE $kept;
		UPDATE $set SET doc = jsonb_set(doc, '{$nested}', '[]') || jsonb_build_object('was', doc->'$nested') WHERE hashtext(id) % 10 = 1});
}
sql("SELECT docstore.wait_for_replication('$_', '200 s')") for qw(films restaurants);
is(sql("SELECT count(*) FROM d.films JOIN kept_movies USING (id)"), '0', 'deleted documents have no rows');
is(sql("SELECT count(*) FROM d.inspections WHERE hashtext(id) % 10 IN (0, 1)"), '0', 'nor have those whose select gives none');
is(sql("SELECT count(*) FROM d.restaurants"), sql("SELECT count(*) FROM nyc_restaurants"), 'the others are there');
for my $set (@sets)
{
	my $nested = $set eq 'movies' ? 'cast' : 'grades';
	sql(qq{INSERT INTO $set (id, doc) SELECT id, doc FROM kept_$set;
		UPDATE $set SET doc = jsonb_set(doc - 'was', '{$nested}', doc->'was') WHERE doc ? 'was'});
}
$node->stop('immediate');
$node->start;
ask('after changes and a crash');
$node->stop;
done_testing();
