# Documents and definitions out of one server and into another: pg_dump, pg_restore, export and import.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub new_node
{
	my $node = PostgreSQL::Test::Cluster->new(shift);
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'");
	$node->start;
	return $node;
}

my $from = new_node('from');
my $to = new_node('to');
my $dir = PostgreSQL::Test::Utils::tempdir;

# A schema that sorts before "docstore" and one that sorts behind it, two owners, awkward ids, a partition, a second table
# over the same documents.
$from->safe_psql('postgres', q{
	CREATE ROLE keeper;
	CREATE ROLE clerk IN ROLE keeper;
	CREATE EXTENSION docstore;
	CREATE SCHEMA app;
	GRANT ALL ON SCHEMA app, public TO keeper, clerk;
	CREATE TYPE app.size AS (w int, h int);
	CREATE DOMAIN app.positive AS int CHECK (value > 0);
	SET ROLE keeper;
	SET search_path = app;
	SELECT docstore.create_collection('birds');
	INSERT INTO birds (id, doc) SELECT 'bird/' || g, jsonb_build_object('n', g, 'name', 'Häher ' || g) FROM generate_series(1, 2000) g;
	INSERT INTO birds VALUES (E'\\\\.', '"\\\\."'), (E'tab\there', '[]'), (E'line\nend', '{"a": "b\nc\\\\"}'), ('"', 'null');
	COMMENT ON FOREIGN TABLE birds IS 'all of them';
	COMMENT ON COLUMN birds.doc IS 'feathers';
	CREATE FOREIGN TABLE bird_facts (id text COLLATE "C" NOT NULL, n int OPTIONS (path 'n') CHECK (n > 0), label text OPTIONS (path 'name')
		DEFAULT 'none') SERVER docstore OPTIONS (collection 'birds');
	GRANT SELECT (id) ON bird_facts TO clerk;
	SELECT docstore.create_collection('odd', create_table => false);
	CREATE FOREIGN TABLE odd (id text COLLATE "C", doc jsonb, etag bigint, n int, price numeric(6, 2), at timestamptz, label text, flag boolean,
		f float8, list text[], whole positive, span int4range, size size, sub jsonb OPTIONS (path 'a.b')) SERVER docstore OPTIONS (collection 'odd');
	SELECT docstore.put('odd', '1', '{"n": "7", "price": 1.234, "at": "2024-02-29", "label": 5, "flag": "yes", "f": 0.10000000000000000001, "list": [1, "b"],
		"whole": "7", "span": "[1,4]", "size": {"w": "1", "more": 2}, "a": {"b": null}}'), docstore.put('odd', '2', '{"label": {"x": [1.50]}, "list": "{a,b}", "a": {"b": "c"}}');
	SELECT docstore.create_collection('lost', create_table => false);
	SET ROLE clerk;
	CREATE TABLE places (id text COLLATE "C", region text, doc jsonb) PARTITION BY LIST (region);
	SELECT docstore.create_collection('north', create_table => false);
	CREATE FOREIGN TABLE places_north PARTITION OF places FOR VALUES IN ('north') SERVER docstore OPTIONS (collection 'north');
	INSERT INTO places VALUES ('oslo', 'north', '{"fjord": true}');
	SET search_path = public;
	SELECT docstore.create_collection('Wörter "x"');
	INSERT INTO "Wörter ""x""" VALUES ('a', '{"b": 1}');
	CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM "Wörter ""x""";
});
my $sum = q{
	SELECT 'birds', count(*), md5(string_agg(id || doc::text, ',' ORDER BY id)) FROM app.birds
	UNION ALL SELECT 'odd', count(*), string_agg(doc::text, ',' ORDER BY id) FROM app.odd
	UNION ALL SELECT 'facts', count(*), md5(string_agg(id || n || label, ',' ORDER BY id)) FROM app.bird_facts
	UNION ALL SELECT 'places', count(*), md5(string_agg(id || doc::text, ',' ORDER BY id)) FROM app.places
	UNION ALL SELECT 'words', count(*), md5(string_agg(id || doc::text, ',' ORDER BY id)) FROM public."Wörter ""x"""
	UNION ALL SELECT 'counted', n, NULL FROM public.counted ORDER BY 1};
my $owners = q{SELECT name, owner, created FROM docstore.collections ORDER BY name};
my ($documents, $collections) = map { $from->safe_psql('postgres', $_) } ($sum, $owners);

# A table's data is dumped once for each table that shows it, so all tables but one of a collection are left out.
my @dump = ('pg_dump', '--include-foreign-data=docstore', '--exclude-table-data=app.bird_facts', '-d', $from->connstr('postgres'));
command_ok([ @dump, '-f', "$dir/plain.sql" ], 'pg_dump as a script');
command_ok([ @dump, '-Fc', '-f', "$dir/custom.dump" ], 'pg_dump in the custom format');
command_ok([ 'pg_dumpall', '--roles-only', '-d', $from->connstr('postgres'), '-f', "$dir/roles.sql" ], 'pg_dumpall of the roles');
# (the role that both servers have is there already)
$to->command_ok([ 'psql', '-X', '-q', '-d', $to->connstr('postgres'), '-f', "$dir/roles.sql" ], 'the roles are restored');

sub same
{
	my ($database, $what) = @_;
	is($to->safe_psql($database, $sum), $documents, "$what: the same documents");
	is($to->safe_psql($database, $owners), $collections, "$what: the same collections, owners and times");
	my @definitions = map { scalar run_command([ 'pg_dump', '--schema-only', '-d', $_ ]) } ($from->connstr('postgres'), $to->connstr($database));
	# newer minor versions of pg_dump write a random key into scripts
	s/^\\(un)?restrict .*$//mg foreach @definitions;
	is($definitions[1], $definitions[0], "$what: the same definitions");
	is($to->safe_psql($database, q{SELECT count(*) FROM app.birds WHERE etag > 0 AND modified > '2020-01-01'}), '2004', "$what: etags and times of their own");
	$to->safe_psql($database, q{SET ROLE clerk; INSERT INTO app.places VALUES ('turku', 'north', '{}')});
}

$to->safe_psql('postgres', 'CREATE DATABASE plain');
$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $to->connstr('plain'), '-f', "$dir/plain.sql" ], 'psql restores the script');
same('plain', 'script');

$to->safe_psql('postgres', 'CREATE DATABASE jobs');
$to->command_ok([ 'pg_restore', '-e', '-j', '3', '-d', $to->connstr('jobs'), "$dir/custom.dump" ], 'pg_restore with three jobs');
same('jobs', 'jobs');

$to->safe_psql('postgres', 'CREATE DATABASE single');
$to->command_ok([ 'pg_restore', '-1', '-d', $to->connstr('single'), "$dir/custom.dump" ], 'pg_restore in one transaction');
same('single', 'one transaction');

# Without the documents: the definitions, and empty collections.
$to->safe_psql('postgres', 'CREATE DATABASE bare');
command_ok([ 'pg_dump', '-d', $from->connstr('postgres'), '-f', "$dir/bare.sql" ], 'pg_dump without documents');
$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $to->connstr('bare'), '-f', "$dir/bare.sql" ], 'is restored');
is($to->safe_psql('bare', $owners), $collections, 'with the collections');
is($to->safe_psql('bare', q{SELECT count(*) FROM app.birds}), '0', 'which are empty');

# Only who restores may be ahead of the catalog.
my ($ret, $out, $err) = $to->psql('bare', q{
	CREATE FOREIGN TABLE ghosts (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'ghosts');
	COPY ghosts FROM PROGRAM 'printf "a\t{}\n"'});
like($err, qr/collection "ghosts" does not exist/, 'COPY does not make collections otherwise');

# JSON Lines from one server to the other.
my $lines = "$dir/birds.jsonl";
is($from->safe_psql('postgres', qq{SELECT docstore.export('birds', '$lines')}), '2004', 'export');
is($to->safe_psql('bare', qq{SELECT docstore.import('birds', '$lines')}), '2004', 'import');
my $birds = q{SELECT count(*), md5(string_agg(id || doc::text, ',' ORDER BY id)) FROM app.birds};
is($to->safe_psql('bare', $birds), $from->safe_psql('postgres', $birds), 'the same documents');

# Files that others wrote: ends of lines as on Windows, none at the end, a line larger than any buffer.
my $long = 'x' x 300_000;
append_to_file("$dir/other.jsonl", qq({"code": 1}\r\n\r\n{"code": "zwei", "text": "$long"}\n   \n{"code": "ü"}));
is($to->safe_psql('bare', qq{SELECT docstore.import('lost', '$dir/other.jsonl', 'code')}), '3', 'an awkward file');
$to->safe_psql('bare', q{CREATE FOREIGN TABLE lost (id text COLLATE "C", doc jsonb) SERVER docstore OPTIONS (collection 'lost')});
is($to->safe_psql('bare', q{SELECT string_agg(id || length(doc::text), ',' ORDER BY id) FROM lost}), '111,zwei300028,ü13', 'arrives whole');
append_to_file("$dir/zero.jsonl", qq({"id": "a", "doc": {}}\n{"id": "b", "doc": "x\0"}\n));
append_to_file("$dir/latin.jsonl", qq({"id": "a", "doc": {}}\n{"id": "\xfc", "doc": 1}\n));
($ret, $out, $err) = $to->psql('bare', qq{SELECT docstore.import('lost', '$dir/zero.jsonl')});
like($err, qr/line is not a document.*zero byte.*line 2/s, 'a zero byte is refused');
($ret, $out, $err) = $to->psql('bare', qq{SELECT docstore.import('lost', '$dir/latin.jsonl')});
like($err, qr/invalid byte sequence for encoding "UTF8": 0xfc.*line 2/s, 'so is what is not UTF-8');
$to->safe_psql('bare', q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
$to->safe_psql('latin', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('birds')});
$to->safe_psql('latin', qq{SELECT docstore.import('birds', '$lines')});
is($to->safe_psql('latin', qq{SELECT docstore.export('birds', '$dir/latin_out.jsonl')}), '2004', 'a database of another encoding');
ok(slurp_file("$dir/latin_out.jsonl") eq slurp_file($lines), 'reads and writes the same file');

# Progress: of a file that is not at its end yet.
my $fifo = "$dir/fifo";
system('mkfifo', '-m', '666', $fifo) == 0 or die;
my $session = $to->background_psql('bare');
$session->query_until(qr/begun/, qq{\\echo begun\nSELECT docstore.import('lost', '$fifo');\n});
open(my $pipe, '>', $fifo) or die;
$pipe->autoflush(1);
print $pipe qq({"id": "p/$_", "doc": {"n": $_}}\n) for 1 .. 1000;
ok($to->poll_query_until('bare', q{
	SELECT count(*) = 1 FROM pg_stat_progress_copy
	WHERE command = 'COPY FROM' AND type = 'FILE' AND datname = 'bare' AND tuples_processed >= 900 AND bytes_processed > 20000}),
	'pg_stat_progress_copy shows an import');
close($pipe);
$session->query_safe('SELECT 1');
$session->quit;
is($to->safe_psql('bare', q{SELECT count(*) FROM lost WHERE id LIKE 'p/%'}), '1000', 'which then ends');

$_->stop foreach ($from, $to);
done_testing();
