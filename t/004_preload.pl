# Without shared_preload_libraries: clear errors, and no silent recovery past our WAL.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('preload');
$node->init(allows_streaming => 1);
$node->start;
my ($ret, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION docstore');
isnt($ret, 0, 'CREATE EXTENSION is refused');
like($err, qr/must be loaded via shared_preload_libraries/, 'with the reason');
like($err, qr/HINT:.*shared_preload_libraries = 'docstore'/, 'and the hint');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'");
$node->restart;
$node->safe_psql('postgres', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('a'); INSERT INTO a VALUES ('1', '{}')});

# A cleanly stopped server starts without the library; collections say what is missing.
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
($ret, $out, $err) = $node->psql('postgres', 'SELECT * FROM a');
isnt($ret, 0, 'reading is refused');
like($err, qr/must be loaded via shared_preload_libraries/, 'with the reason');

# After a crash it must not start: our records would be skipped.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'");
$node->restart;
is($node->safe_psql('postgres', 'SELECT count(*) FROM a'), '1', 'back with the library');
$node->safe_psql('postgres', q{INSERT INTO a VALUES ('2', '{}')});
$node->stop('immediate');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
is($node->start(fail_ok => 1), 0, 'crash recovery without the library is refused');
like(slurp_file($node->logfile), qr/resource manager with ID 178 not registered/, 'by the server itself');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'");
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM a'), '2', 'nothing was lost');

$node->stop;

# Settings that rule out the slot: reads say so instead of waiting.
my $minimal = PostgreSQL::Test::Cluster->new('minimal');
$minimal->init;    # wal_level minimal
$minimal->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'");
$minimal->start;
$minimal->safe_psql('postgres', q{CREATE EXTENSION docstore});
($ret, $out, $err) = $minimal->psql('postgres', q{SELECT docstore.create_collection('a'); SELECT * FROM a});
isnt($ret, 0, 'wal_level minimal is refused');
like($err, qr/wal_level/, 'with the reason');
$minimal->stop;

# No room for workers: who waits for them hears it.
my $crowded = PostgreSQL::Test::Cluster->new('crowded');
$crowded->init(allows_streaming => 1);
$crowded->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
max_worker_processes = 2
max_logical_replication_workers = 0
});
$crowded->start;
$crowded->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('a');
	INSERT INTO a VALUES ('1', '{"b": "c"}');
	CREATE TABLE t (id text PRIMARY KEY, b text);
	SELECT docstore.create_view('v', $$ SELECT doc->>'b' AS b FROM docs $$, '{a}');
	SELECT docstore.create_replication('r', '{a}', $$ [{"table": "public.t", "key": "id", "select": "SELECT doc->>'b' AS b FROM docs"}] $$)});
($ret, $out, $err) = $crowded->psql('postgres', q{SELECT docstore.wait_for_view('v', '10ms')});
like($err, qr/HINT:  No indexer runs in this database; .*max_worker_processes/, 'a view without an indexer');
($ret, $out, $err) = $crowded->psql('postgres', q{SELECT docstore.wait_for_replication('r', '10ms')});
like($err, qr/HINT:  No replicator runs in this database; .*max_worker_processes/, 'a replication without a replicator');
# The log says it once, however often it is tried.
($ret, $out, $err) = $crowded->psql('postgres', q{SELECT docstore.wait_for_view('v', '3s')});
my @told = grep { /no free background worker|background workers for all|goes on/ } split(/\n/, slurp_file($crowded->logfile));
is(scalar(@told), 1, 'the log tells of it once') or diag(join("\n", @told));
$crowded->append_conf('postgresql.conf', 'max_worker_processes = 8');
$crowded->restart;
is($crowded->safe_psql('postgres', q{SELECT docstore.wait_for_view('v'); SELECT docstore.wait_for_replication('r'); SELECT v.b, t.b FROM v, t}),
	"\n\nc|c", 'both catch up when there is room');

done_testing();
