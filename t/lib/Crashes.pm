# The checker (Money.pm) over many crashes: of a backend, of the compactor, of the postmaster, of all at once.
package Crashes;
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use Test::More;
use Money;
use Strike;
use Disk;

# crashes(name => ..., settings => ..., rounds => ..., flush => 1: all the time, power => 1: what happens is a loss of power)
sub crashes
{
	my (%how) = @_;
	my $rounds = $ENV{DOCSTORE_CRASH_ROUNDS} || $how{rounds};
	my $seed = $ENV{DOCSTORE_CRASH_SEED} || int(rand(1 << 30));
	note("DOCSTORE_CRASH_SEED=$seed");
	srand($seed);
	my $node = PostgreSQL::Test::Cluster->new($how{name});
	$node->init(allows_streaming => 1);
	# The WAL writer is slow, so that the WAL of asynchronous commits is lost.
	$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'docstore'
restart_after_crash = on
wal_writer_delay = 10s
wal_writer_flush_after = 0
wal_buffers = 16MB
deadlock_timeout = 100ms
log_statement = none
$how{settings}});
	my $disk = $how{power} ? Disk->new($node) : undef;
	my $start = sub { return $disk ? $disk->start(@_) : $node->start(@_) };
	$start->();
	my $money = Money->new($node);
	my $client = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1};
	my %strike = (
		'a backend' => sub { kill_process($node->safe_psql('postgres', $client)) },
		'the compactor' => sub { kill_process($node->safe_psql('postgres', 'SELECT compactor_pid FROM docstore.status')) },
		'the postmaster' => sub { $node->kill9; start_again($node, $start) },
		'all' => sub { kill_server($node); start_again($node, $start) },
		'power' => sub { kill_server($node); $disk->cut; start_again($node, $start) });
	my @strikes = $how{power} ? ('power') : ('a backend', 'all', 'the compactor', 'the postmaster');

	my ($flushes, $compactions) = (0, 0);

	for my $round (1 .. $rounds)
	{
		my $what = $strikes[ ($round - 1) % @strikes ];
		$money->run(5 + int(rand(60)), flush => $how{flush});
		my ($f, $c) = split /\|/, $node->safe_psql('postgres', 'SELECT flushes, compactions FROM docstore.status');
		$flushes += $f;
		$compactions += $c;
		$strike{$what}->();
		wait_for_store($node);
		$money->check("$round, $what");
		is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', "$round, $what: no damage") if $round % 5 == 0;
	}
	cmp_ok($money->{acknowledged}, '>', 5 * $rounds, 'there was something to lose');
	cmp_ok($money->{looks}, '>', 0, 'somebody looked');
	cmp_ok($flushes, '>', 10 * $rounds, 'memtables were flushed all the time') if $how{flush};
	note("$rounds crashes, $flushes flushes, $compactions compactions, $money->{acknowledged} acknowledged commits, $money->{looks} looks");
	$node->stop;
	done_testing();
}

1;
