# Replications in a dump, in a copied database, and in databases and extensions that are dropped.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('copies');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
});
$node->start;
sub in_database { return $node->safe_psql($_[0], $_[1]) }
sub rows { return in_database($_[0], q{SELECT string_agg(format('%s %s %s', id, t.n, m.n), ', ' ORDER BY id) FROM r.t FULL JOIN r.m USING (id)}) }

in_database('postgres', 'CREATE DATABASE source');
in_database('source', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('d');
	INSERT INTO d VALUES ('a', '{"n": 1}'), ('b', '{"n": 2}');
	CREATE SCHEMA r;
	CREATE TABLE r.t (id text PRIMARY KEY, n int);
	CREATE TABLE r.m (id text PRIMARY KEY, n int);
	SELECT docstore.create_replication('t', '{d}', '[
		{"table": "r.t", "key": "id", "select": "SELECT (doc->>''n'')::int AS n FROM docs"},
		{"table": "r.m", "key": "id", "mode": "merge", "select": "SELECT (doc->>''n'')::int AS n FROM docs"}]')});
in_database('source', q{SELECT docstore.wait_for_replication('t')});

# ---- dumped and restored ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '--include-foreign-data=docstore', '-f', $dump, $node->connstr('source') ], 'dump');
in_database('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restore');
is(in_database('restored', 'SELECT name, state FROM docstore.replication_status'), 't|paused', 'a restored replication waits to be resumed');
is(rows('restored'), 'a 1 1, b 2 2', 'its rows were in the dump');
in_database('restored', q{SELECT docstore.resume_replication('t'); INSERT INTO d VALUES ('c', '{"n": 3}'); DELETE FROM d WHERE id = 'a'});
in_database('restored', q{SELECT docstore.wait_for_replication('t')});
is(rows('restored'), 'b 2 2, c 3 3', 'then it goes on');

# ---- copied ----

in_database('postgres', 'CREATE DATABASE copied TEMPLATE source');
in_database('copied', q{INSERT INTO d VALUES ('x', '{"n": 9}')});
in_database('copied', q{SELECT docstore.wait_for_replication('t')});
is(rows('copied'), 'a 1 1, b 2 2, x 9 9', 'a copy goes on by itself');
in_database('source', q{UPDATE d SET doc = '{"n": 0}' WHERE id = 'b'});
in_database('source', q{SELECT docstore.wait_for_replication('t')});
is(rows('source'), 'a 1 1, b 0 0', 'the template, too');

# ---- dropped ----

in_database('postgres', 'DROP DATABASE copied');
in_database('source', 'DROP EXTENSION docstore CASCADE');
is(in_database('source', 'SELECT count(*) FROM r.t'), '2', 'the rows outlive the extension');
in_database('source', 'CREATE EXTENSION docstore');
ok($node->poll_query_until('postgres', q{SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'docstore replicator'}, 'restored'),
	'databases without replications have no replicator');
$node->stop;
done_testing();
