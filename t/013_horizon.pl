# Commits that are under way: durable but not yet visible, or being prepared, or cut short.  A consumer passes none of
# them, whatever commits meanwhile, and none keeps it waiting once it is over.
#
# Nobody is the standby that commits wait for: with synchronous_commit = on a transaction stands still after its record is
# in WAL and before anybody sees it, until its wait is cancelled.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start);
use FindBin;
use lib "$FindBin::RealBin/lib";
use Strike;

my $node = PostgreSQL::Test::Cluster->new('horizon');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
max_prepared_transactions = 10
restart_after_crash = on
synchronous_standby_names = 'nobody'
synchronous_commit = local
});
# A checkpoint that is done tells that the checkpointer has made the standby's name known.
sub begin { sql('CHECKPOINT') }
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub changes { return sql(q{SELECT string_agg(id || CASE WHEN deleted THEN '-' ELSE '' END, ' ' ORDER BY etag) FROM docstore.changes('sub')}) }
sub done { sql(q{SELECT docstore.advance_consumer('sub', max(etag)) FROM docstore.changes('sub')}) }
sub crash
{
	$node->stop('immediate');
	$node->start;
	begin();
}

# A session that runs some SQL and then stands still: where, and of whom.
sub stopped
{
	my ($sql, $event) = @_;
	my %run = (in => '', out => '', err => '');
	$run{handle} = start(['psql', '-XAtq', '-d', $node->connstr('postgres') . ' application_name=stopped', '-c', 'SET synchronous_commit = on', map { ('-c', $_) } @$sql],
		'<', \$run{in}, '>', \$run{out}, '2>', \$run{err});
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'stopped' AND wait_event = '$event'")
		or die "it did not stop: $run{err}";
	return \%run;
}
sub let_go
{
	my ($run) = @_;
	sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'stopped'});
	$run->{handle}->finish;
}
sub refused
{
	my ($name) = @_;
	my ($status, $out, $err) = $node->psql('postgres', q{SELECT docstore.advance_consumer('sub', etag) FROM things WHERE id = 'late'});
	like($err, qr/cannot advance consumer "sub"/, $name);
}

$node->start;
begin();
sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('things');
	SELECT docstore.create_consumer('sub', '{things}');
});

# ---- COMMIT ----

my $run = stopped([q{BEGIN; INSERT INTO things VALUES ('early', '1'); COMMIT}], 'SyncRep');
sql(q{INSERT INTO things VALUES ('late', '1')});
is(sql(q{SELECT string_agg(id, ' ') FROM things}), 'late', 'a commit stands still between its record and its being seen');
is(changes(), '', 'what came later waits for it');
refused('and nobody can be told otherwise');
let_go($run);
is(changes(), 'early late', 'then both are there, in the order of their etags');
done();

$run = stopped([q{BEGIN; DELETE FROM things WHERE id = 'early'; COMMIT}], 'SyncRep');
sql(q{DELETE FROM things WHERE id = 'late'});
is(changes(), '', 'deletions wait, too');
crash();
$run->{handle}->finish;
is(changes(), 'early- late-', 'a crash makes the commit seen');
done();

# ---- PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED ----

for my $end ('COMMIT', 'ROLLBACK')
{
	my $seen = $end eq 'COMMIT' ? 'early late' : 'late';

	for my $crashes (0, 1)
	{
		my $how = $crashes ? ', over crashes' : '';

		$run = stopped([q{BEGIN; INSERT INTO things VALUES ('early', '1'); PREPARE TRANSACTION 'p'}], 'SyncRep');
		sql(q{INSERT INTO things VALUES ('late', '1')});
		is(changes(), '', "while it is being prepared, later changes wait$how");
		if ($crashes) { crash(); $run->{handle}->finish; } else { let_go($run); }
		is(sql('SELECT count(*) FROM pg_prepared_xacts'), '1', "it is prepared$how");
		is(changes(), '', "later changes still wait$how");
		refused("nor can anybody advance$how");
		$run = stopped(["$end PREPARED 'p'"], 'SyncRep');
		is(changes(), '', "and until $end PREPARED is seen$how") if $end eq 'COMMIT';
		if ($crashes) { crash(); $run->{handle}->finish; } else { let_go($run); }
		is(sql('SELECT count(*) FROM pg_prepared_xacts'), '0', "$end PREPARED is done$how");
		is(changes(), $seen, "what is left then is there$how");
		done();
		sql(q{DELETE FROM things});
		done();
	}
}

# ---- cut short ----

for my $how ('terminated', 'killed')
{
	$run = stopped([q{BEGIN; INSERT INTO things VALUES ('early', '1'); SELECT pg_sleep(1000)}], 'PgSleep');
	my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'stopped'});
	sql(q{INSERT INTO things VALUES ('late', '1')});
	is(changes(), '', "later changes wait for a writer that will be $how");
	if ($how eq 'killed')
	{
		my $checkpointer = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
		kill_and_recover($node, $pid);
		$run->{handle}->finish;
		isnt(sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'}), $checkpointer, 'the server restarts by itself');
		begin();
	}
	else
	{
		sql("SELECT pg_terminate_backend($pid, 60000)");
		$run->{handle}->finish;
	}
	is(changes(), 'late', "but not once it is $how");
	done();
	sql(q{DELETE FROM things});
	done();
}

# ---- other databases ----

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('things');
	SELECT docstore.create_consumer('sub', '{things}')});
$node->safe_psql('other', q{BEGIN; INSERT INTO things VALUES ('early', '1'); PREPARE TRANSACTION 'other'});
sql(q{BEGIN; INSERT INTO things VALUES ('first', '1'); PREPARE TRANSACTION 'this'});
sql(q{INSERT INTO things VALUES ('late', '1')});
crash();
is(changes(), '', 'each database waits for its own');
sql(q{COMMIT PREPARED 'this'});
is(changes(), 'first late', 'and not for those of another');
$node->safe_psql('other', q{INSERT INTO things VALUES ('late', '1')});
is($node->safe_psql('other', q{SELECT count(*) FROM docstore.changes('sub')}), '0', 'where they are still waited for');
$node->safe_psql('other', q{COMMIT PREPARED 'other'});
is($node->safe_psql('other', q{SELECT string_agg(id, ' ' ORDER BY etag) FROM docstore.changes('sub')}), 'early late', 'and come');
$node->stop;
done_testing();
