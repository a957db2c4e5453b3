# More databases than the launcher can look into at once: it asks them in portions, and all are asked.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('many');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
max_worker_processes = 150
fsync = off
});
$node->start;
my $databases = 70;
$node->safe_psql('postgres', join '', map { "CREATE DATABASE d$_ STRATEGY wal_log;\n" } 1 .. $databases);
for my $database ("d$databases", 'd1')
{
	$node->safe_psql($database, q{
		CREATE EXTENSION docstore;
		SELECT docstore.create_collection('docs');
		SELECT docstore.create_view('v', $$ SELECT doc->>'n' AS n FROM docs $$, '{docs}');
		SELECT docstore.wait_for_view('v')});
}
$node->restart;
for my $database ('d1', "d$databases")
{
	$node->safe_psql($database, q{INSERT INTO docs VALUES ('1', '{"n": 1}')});
	ok($node->poll_query_until($database, 'SELECT count(*) = 1 FROM v'), "$database has an indexer after a restart");
}
# Those without the extension gave their slots back.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type IN ('docstore indexer', 'docstore replicator')}),
	'nobody else runs');
$node->stop;
done_testing();
