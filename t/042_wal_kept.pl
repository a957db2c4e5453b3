# The slot keeps the WAL that memtables are rebuilt from, and no more: bounded by size and age, through checkpoint storms,
# a slot that was dropped by hand, and one that the server took away.
use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start);

my $node = PostgreSQL::Test::Cluster->new('kept');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '1MB'
docstore.flush_delay = 0
docstore.max_wal_retained = '16MB'
wal_keep_size = 0
min_wal_size = 32MB
max_wal_size = 64MB
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE pairs (id text PRIMARY KEY, v int);
	CREATE TABLE bulk (t text);
});
my $disagree = q{SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id
	WHERE d.id IS NULL OR p.id IS NULL OR (d.doc->>'v')::int <> p.v};
my $n = 0;

# A document and a row that say the same.
sub add
{
	$n++;
	$node->safe_psql('postgres', qq{BEGIN; INSERT INTO docs VALUES ('k$n', '{"v": $n}'); INSERT INTO pairs VALUES ('k$n', $n); COMMIT});
}

sub much_wal
{
	$node->safe_psql('postgres', q{INSERT INTO bulk SELECT repeat(md5(g::text), 30) FROM generate_series(1, 25000) g; TRUNCATE bulk}) for 1 .. $_[0];
}

sub check
{
	my ($name) = @_;
	is($node->safe_psql('postgres', $disagree), '0', "$name: documents and rows agree");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM docs'), $n, "$name: all are there");
}

# By size: a document that is hardly worth a table does not hold back more than the setting.
add();
much_wal(3);
ok($node->poll_query_until('postgres', q{SELECT wal_retained < 32 * 1024 * 1024 FROM docstore.status}), 'memtables are flushed when they hold back too much');
ok($node->poll_query_until('postgres', q{SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn) < 32 * 1024 * 1024 FROM pg_replication_slots WHERE slot_name = 'docstore'}),
	'and follows');
check('bounded by size');

# By age.
add();
my $flushes = $node->safe_psql('postgres', 'SELECT flushes FROM docstore.status');
$node->append_conf('postgresql.conf', 'docstore.flush_delay = 100ms');
$node->reload;
ok($node->poll_query_until('postgres', "SELECT flushes > $flushes FROM docstore.status"), 'memtables are flushed when they are old');
$node->append_conf('postgresql.conf', 'docstore.flush_delay = 0');
$node->reload;

# An idle store writes no WAL of its own that would make checkpoints go on for ever.
$node->safe_psql('postgres', 'SELECT docstore.flush(); CHECKPOINT');
my $status = $node->safe_psql('postgres', 'SELECT redo_lsn, wal_retained, xids_retained FROM docstore.status');
like($status, qr{^[0-9A-F]+/[0-9A-F]+\|\d+\|\d+$}, 'the status shows what is kept');

# A checkpoint storm under load, and a crash in it.
my $script = $node->basedir . '/pairs.sql';
append_to_file($script, q{
\set k random(1, 100000000)
BEGIN;
INSERT INTO docs (id, doc) VALUES ('s' || :k || '/' || :client_id, '{"v": 1}');
INSERT INTO pairs VALUES ('s' || :k || '/' || :client_id, 1);
COMMIT;
});
my $load = start([ 'pgbench', '-n', '-f', $script, '-c', 4, '-T', '60', '-h', $node->host, '-p', $node->port, 'postgres' ], '>', '/dev/null', '2>', '/dev/null');
$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM pairs') or die 'no load';
$node->safe_psql('postgres', 'CHECKPOINT') for 1 .. 20;
$node->stop('immediate');
eval { $load->finish };
$node->start;
is($node->safe_psql('postgres', $disagree), '0', 'checkpoint storm: documents and rows agree');
$node->safe_psql('postgres', q{DELETE FROM docs WHERE id LIKE 's%'; DELETE FROM pairs WHERE id LIKE 's%'});

# Dropped by hand while the server was down after a crash, and after a clean stop: recovery makes it anew, where it has to be.
for my $mode ('immediate', 'fast')
{
	add();
	$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
	add();
	$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
	$node->stop($mode);
	rmtree($node->data_dir . '/pg_replslot/docstore');
	$node->start;
	check("slot dropped after a stop that was $mode");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots s, docstore.status d WHERE slot_name = 'docstore' AND pg_wal_lsn_diff(redo_lsn, restart_lsn) >= 0}),
		'1', 'it is back, and keeps what is needed');
	$node->stop('immediate');
	$node->start;
	check("a crash after a stop that was $mode");
}
my ($ret, $out, $err) = $node->psql('postgres', q{SELECT pg_drop_replication_slot('docstore')});
isnt($ret, 0, 'while the server runs it cannot be dropped');

# Taken away by the server: the store cannot flush (its directory refuses new files), and WAL grows beyond what the server keeps.
add();
$node->append_conf('postgresql.conf', "max_slot_wal_keep_size = '32MB'");
$node->reload;
my $directory = $node->data_dir . '/docstore';
chmod 0500, $directory or die;
much_wal(3);
ok($node->poll_query_until('postgres', q{SELECT last_error LIKE 'could not %' AND last_error_file LIKE '%.ldb' FROM docstore.status}), 'the status says what is wrong');
$node->safe_psql('postgres', 'CHECKPOINT');
ok($node->poll_query_until('postgres', q{SELECT state = 'running' FROM docstore.status}), 'the store runs');
check('slot taken away');
chmod 0700, $directory or die;
ok($node->poll_query_until('postgres', q{SELECT last_error IS NULL AND wal_retained < 32 * 1024 * 1024 FROM docstore.status}), 'it flushes when it can');
like(slurp_file($node->logfile), qr/replication slot "docstore" was invalidated and is made anew/, 'the slot was taken away and made anew');
add();
$node->stop('immediate');
$node->start;
check('a crash after that');

# Once more, and now a crash before it could flush.  Nothing is lost without being said.
add();
chmod 0500, $directory or die;
much_wal(3);
$node->poll_query_until('postgres', q{SELECT last_error LIKE 'could not %' FROM docstore.status}) or die;
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop('immediate');
chmod 0700, $directory or die;
$node->start;
($ret, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM docs');
isnt($ret, 0, 'without its WAL the store does not come up');
like($err, qr/that the store needs is gone/, 'with the reason');
like($err, qr/HINT:.*docstore.ignore_missing_wal/, 'and what to do');

$node->stop;
done_testing();
