# The disk is full, or broken, below tables, manifest and directory: writers are slowed and then refused with the reason,
# reading goes on, and the store recovers by itself when it can.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Strike;
use Disk;
use Errno qw(ENOSPC EIO);
my ($no_space, $io_error) = (ENOSPC, EIO);

my $node = PostgreSQL::Test::Cluster->new('full');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 0
restart_after_crash = on
fsync = on
data_sync_retry = on
});
my $disk = Disk->new($node);
$disk->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	INSERT INTO docs (id, doc) SELECT 'old' || g, jsonb_build_object('v', g) FROM generate_series(1, 1000) g;
	SELECT docstore.flush()});
my $count = 1000;

sub recovers
{
	my ($name) = @_;
	$disk->rule('');
	ok($node->poll_query_until('postgres', q{SELECT last_error IS NULL AND memtables_waiting = 0 FROM docstore.status}), "$name: the store goes on by itself");
	$count++;
	sql(qq{INSERT INTO docs VALUES ('after$count', '1'); SELECT docstore.flush()});
	is(sql('SELECT count(*) FROM docs'), $count, "$name: everything is there, nothing more");
}

# ---- flushing fails, each step of it, and says so ----

for my $case ([ 'create ldb', $no_space, 'No space left on device', '53100' ], [ 'write ldb', $no_space, 'No space left on device', '53100' ],
	[ 'write MANIFEST', $no_space, 'No space left on device', '53100' ], [ 'write MANIFEST', $io_error, 'Input/output error', '58030' ],
	[ 'sync ldb', $io_error, 'Input/output error', '58030' ], [ 'sync MANIFEST', $io_error, 'Input/output error', '58030' ],
	[ 'syncdir *', $io_error, 'Input/output error', '58030' ])
{
	my ($step, $errno, $message, $state) = @$case;
	my $name = "$step: $message";
	$count++;
	sql(qq{INSERT INTO docs VALUES ('new$count', '1')});
	$disk->rule("$step before 0 $errno");
	my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT docstore.flush()");
	like($err, qr/ERROR:  $state: docstore: could not .*$message/, "$name: a flush fails with the reason");
	is(sql('SELECT count(*) FROM docs'), $count, "$name: reading goes on");
	like(sql('SELECT last_error FROM docstore.status'), qr/could not .*: $message$/, "$name: the status tells");
	recovers($name);
}

# ---- writers when nothing can be flushed ----

$disk->rule("any * before 0 $no_space");
my $written = 0;
my ($ret, $out, $err) = (0, '', '');
# Four memtables of 256 kB: soon full.
while ($ret == 0 && $written < 100)
{
	($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n" .
		qq{INSERT INTO docs (id, doc) SELECT 'w$written/' || g, jsonb_build_object('pad', repeat(md5(g::text), 10)) FROM generate_series(1, 100) g});
	$written++ if $ret == 0;
}
cmp_ok($written, '>', 5, 'while there is memory writers go on');
cmp_ok($written, '<', 100, 'then they are refused');
like($err, qr/ERROR:  53100: docstore: could not .*No space left on device/, 'with the reason');
like($err, qr/DETAIL:  File "docstore\/.*HINT:  Free disk space/s, 'and what to do');
$count += 100 * $written;
is(sql('SELECT count(*) FROM docs'), $count, 'reading goes on, what failed is not there');
is(sql(q{SELECT doc->>'v' FROM docs WHERE id = 'old77'}), '77', 'lookups, too');
is(sql('CREATE TABLE others AS SELECT 1 AS i; SELECT count(*) FROM others'), '1', 'and all else');
# Who waits for room can be cancelled, and ended.
for my $way ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/begun/, qq{\\echo begun\nINSERT INTO docs (id, doc) SELECT '$way/' || g, jsonb_build_object('pad', repeat(md5(g::text), 10)) FROM generate_series(1, 5000) g;\n});
	ok($node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid"), 'a writer waits for room');
	sql("SELECT $way($pid)");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'"), "$way ends that");
	eval { $session->{run}->kill_kill; $session->{run}->finish };
}
# A crash with a disk that is full: the store cannot start a manifest, says why, and comes up when it can.
kill_server($node);
start_again($node, sub { $disk->start(@_) });
($ret, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM docs');
like($err, qr/ERROR:  docstore: .*No space left on device.*HINT:  Free disk space/s, 'a server that comes up with a full disk says why collections cannot be read');
$disk->rule('');
wait_for_store($node);
recovers('full disk');

# ---- a failed fsync where the server's rule is to start over ----

$node->append_conf('postgresql.conf', 'data_sync_retry = off');
$node->stop;
$disk->start;
wait_for_store($node);
for my $step ('sync ldb', 'sync MANIFEST', 'syncdir *')
{
	$count++;
	sql("INSERT INTO docs VALUES ('panic$count', '1')");
	$disk->rule("$step before 1 $io_error");
	$node->psql('postgres', 'SELECT docstore.flush()');
	wait_for_store($node);
	recovers("$step fails once");
}
like(slurp_file($node->logfile), qr/PANIC:  could not fsync file/, 'as it does for its own files');
is(sql('SELECT count(*) FROM docstore.verify()'), '0', 'no damage');

$node->stop;
done_testing();
