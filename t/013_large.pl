# A transaction that is much larger than the memtables: it sees its own documents wherever they lie by now, nobody else
# does, and after a rollback compaction gives their space back.  And a reader that stays while everything is rewritten:
# compaction keeps what it alone can see until it has gone.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# A kilobyte each.  Five gigabytes are DOCSTORE_LARGE=5000000.
my $n = $ENV{DOCSTORE_LARGE} || 10000;
my $node = PostgreSQL::Test::Cluster->new('large');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '1MB'
docstore.block_cache_size = '4MB'
docstore.table_cache_size = '4MB'
docstore.compression = none
shared_buffers = '8MB'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE loaded (n int);
});

sub status
{
	my ($column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM docstore.status");
}

# The most memory of its own that the session has while it runs a statement; undef where that cannot be told.
sub run_and_watch
{
	my ($session, $sql) = @_;
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $most;
	$session->{stdin} .= "$sql;\n\\echo the end\n";
	until ($session->{stdout} =~ /^the end$/m)
	{
		die $session->{stderr} if $session->{stderr} =~ /ERROR|FATAL/;
		$session->{run}->pump_nb;
		if (open my $fh, '<', "/proc/$pid/status")
		{
			while (<$fh>) { $most = $1 if /^RssAnon:\s+(\d+) kB/ && $1 > ($most // 0) }
			close $fh;
		}
		select undef, undef, undef, 0.01;
	}
	$session->{stdout} = '';
	return $most;
}

my $load = qq{INSERT INTO docs SELECT 'd' || i, jsonb_build_object('n', i, 'pad', (SELECT string_agg(md5(i || '/' || g), '') FROM generate_series(1, 31) AS g))
	FROM generate_series(1, $n) AS i};
my $sum = q{SELECT count(*), sum((doc->>'n')::bigint), count(*) FILTER (WHERE doc ? 'pad') FROM docs};
my $all = join '|', $n, $n * ($n + 1) / 2, $n;

# What of it is there after every tenth was changed to -1 and every tenth deleted.
my $changed = join '|', $n - $n / 10, eval {
	my $left = 0;
	$left += $_ % 10 == 0 ? -1 : $_ % 10 == 1 ? 0 : $_ for 1 .. $n;
	$left;
}, $n - 2 * $n / 10;

sub large_transaction
{
	my ($session) = @_;
	my $flushes = status('flushes');
	$session->query_safe('BEGIN');
	my $kilobytes = run_and_watch($session, $load);
	$session->query_safe("INSERT INTO loaded VALUES ($n)");
  SKIP:
	{
		skip 'no /proc here', 1 unless defined $kilobytes;
		cmp_ok($kilobytes, '<', 40 * 1024, "a load of $n kilobytes in bounded memory");
	}
	cmp_ok(status('flushes') - $flushes, '>', $n / 2000, 'it was flushed while it was in progress');
	is($session->query_safe($sum), $all, 'it sees its own documents');
	is($node->safe_psql('postgres', $sum), '0||0', 'nobody else does');
	$session->query_safe(q{UPDATE docs SET doc = '{"n": -1}' WHERE (doc->>'n')::int % 10 = 0});
	$session->query_safe(q{DELETE FROM docs WHERE (doc->>'n')::int % 10 = 1});
	is($session->query_safe($sum), $changed, 'and what it has made of them');
	is($session->query_safe(q{SELECT count(*), sum((doc->>'n')::int) FROM docs WHERE id IN ('d10', 'd11', 'd12')}), '2|11', 'looked up by their ids, too');
	$session->query_safe(q{SAVEPOINT s});
	$session->query_safe(q{DELETE FROM docs});
	is($session->query_safe($sum), '0||0', 'all deleted');
	$session->query_safe(q{ROLLBACK TO s});
	$node->safe_psql('postgres', 'SELECT docstore.flush()');
	$node->safe_psql('postgres', 'SELECT docstore.compact()');
	is($session->query_safe($sum), $changed, 'and not, over a compaction');
	is($node->safe_psql('postgres', $sum), '0||0', 'still nobody else sees any');
	return;
}

my $session = $node->background_psql('postgres');
large_transaction($session);
cmp_ok(status('bytes'), '>', $n * 1000, 'it takes space');
my $before = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$session->query_safe('ROLLBACK');
cmp_ok($node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() - '$before'"), '<', 1024 * 1024, 'a rollback writes next to nothing');
is($session->query_safe($sum), '0||0', 'it took everything back');
$node->safe_psql('postgres', 'SELECT docstore.flush()');
$node->safe_psql('postgres', 'SELECT docstore.compact()');
ok($node->poll_query_until('postgres', 'SELECT bytes < 100000 FROM docstore.status'), 'compaction gives its space back');

large_transaction($session);
$session->query_safe('COMMIT');
$node->stop('immediate');
$node->start;
$session->{run}->kill_kill;
is($node->safe_psql('postgres', $sum), $changed, 'committed, it is there after a crash');
is($node->safe_psql('postgres', 'SELECT n FROM loaded'), $n, 'and its row');

# A long reader.
$node->safe_psql('postgres', 'SELECT docstore.compact()');
my $once = status('bytes');
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($reader->query_safe($sum), $changed, 'a reader');
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', "UPDATE docs SET doc = jsonb_set(doc, '{n}', '$round')");
	is($reader->query_safe($sum), $changed, "sees the same after $round rounds of changes");
}
$node->safe_psql('postgres', 'SELECT docstore.compact()');
is($reader->query_safe($sum), $changed, 'and after a compaction');
cmp_ok(status('bytes'), '>', 1.9 * $once, 'which keeps what it sees beside the newest');
$reader->query_safe('COMMIT');
$reader->quit;
$node->safe_psql('postgres', 'SELECT docstore.compact()');
ok($node->poll_query_until('postgres', "SELECT bytes < 1.1 * $once FROM docstore.status"), 'and no longer than until it has gone');
is($node->safe_psql('postgres', $sum), join('|', $n - $n / 10, 3 * ($n - $n / 10), $n - 2 * $n / 10), 'and what is left is the newest');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');

$node->stop;
done_testing();
