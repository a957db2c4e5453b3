# A write is cut short: the statement is cancelled, its session ended, its memory used up.  The transaction is rolled back as
# a whole, the message names the cause, the store goes on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Strike;

my $node = PostgreSQL::Test::Cluster->new('ended');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 0
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE pairs (id text);
	INSERT INTO docs VALUES ('first', '1')});
my $load = q{INSERT INTO docs (id, doc) SELECT 'load' || g, jsonb_build_object('pad', repeat(md5(g::text), 10)) FROM generate_series(1, 1000000) g};

sub untouched
{
	my ($name) = @_;
	is(sql('SELECT (SELECT count(*) FROM docs) + (SELECT count(*) FROM pairs)'), '1', "$name: nothing of it is there");
	sql(q{INSERT INTO docs VALUES ('load1', '2'); DELETE FROM docs WHERE id = 'load1'});
	sql('SELECT docstore.compact()');
	cmp_ok(sql('SELECT bytes FROM docstore.status'), '<', 20000, "$name: its space comes back");
	is(sql(q{SELECT state, last_error FROM docstore.status}), 'running|', "$name: the store goes on");
}

# In the middle of a load, when tables have been written; in the middle of a wait for room, for the compactor stands still; and before
# the server had taken a row of the next COPY.
for my $way ('pg_cancel_backend', 'pg_terminate_backend')
{
	for my $when ('writing', 'waiting')
	{
		my $flushes = sql('SELECT flushes FROM docstore.status');
		my $compactor = sql('SELECT compactor_pid FROM docstore.status');
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		my $pid = $session->query_safe('SELECT pg_backend_pid()');
		kill 'STOP', $compactor if $when eq 'waiting';
		$session->query_until(qr/begun/, "\\echo begun\nBEGIN; INSERT INTO pairs VALUES ('x');\n$load;\nCOMMIT;\n");
		if ($when eq 'writing')
		{
			$node->poll_query_until('postgres', "SELECT flushes > $flushes + 3 FROM docstore.status") or die 'no progress';
		}
		else
		{
			$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") or die 'it does not wait';
		}
		sql("SELECT $way($pid)");
		ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'"), "$way, $when: it ends");
		kill 'CONT', $compactor if $when eq 'waiting';
		eval { $session->{run}->kill_kill; $session->{run}->finish };
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die 'it is still there';
		untouched("$way, $when");
	}
}

# A statement_timeout, and an error in the last row.
my ($ret, $out, $err) = $node->psql('postgres', "SET statement_timeout = '300ms'; BEGIN; INSERT INTO pairs VALUES ('x'); $load");
like($err, qr/ERROR:  canceling statement due to statement timeout/, 'a statement that takes too long is ended');
untouched('statement_timeout');
($ret, $out, $err) = $node->psql('postgres', q{BEGIN; INSERT INTO pairs VALUES ('x');
	INSERT INTO docs (id, doc) SELECT 'load' || g, jsonb_build_object('v', 1 / (20000 - g)) FROM generate_series(1, 20000) g});
like($err, qr/ERROR:  division by zero/, 'an error in the last row');
untouched('an error');

# No memory: a backend that may not have more.
SKIP:
{
	skip 'prlimit is not there', 5 if system('prlimit --version >/dev/null 2>&1') != 0;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT count(*) FROM docs; SELECT pg_backend_pid()');
	$pid = (split /\n/, $pid)[-1];
	my ($kb) = slurp_file("/proc/$pid/status") =~ /VmSize:\s+(\d+) kB/;
	my $bytes = ($kb + 30000) * 1024;
	system_or_bail('prlimit', "--pid=$pid", "--as=$bytes");
	for my $n (20, 40)
	{
		my $text = $session->query("BEGIN; INSERT INTO pairs VALUES ('x'); INSERT INTO docs SELECT 'load' || g, to_jsonb(repeat('x', $n * 1000000)) FROM generate_series(1, 5) g");
		like($session->{stderr}, qr/ERROR:  out of memory/, "a document of $n MB that there is no memory for");
		$session->{stderr} = '';
		$session->query('ROLLBACK');
	}
	is($session->query_safe('SELECT count(*) FROM docs'), '1', 'the session goes on');
	$session->quit;
	untouched('no memory');
}
is(sql('SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, 'nobody crashed');

$node->stop;
done_testing();
