# A numbered story for each step of a write and of a commit: the backend stops there, and it alone, or the server, is
# killed.  Afterwards documents and rows agree, and what was acknowledged is there.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Strike;

my $node = PostgreSQL::Test::Cluster->new('stops');
$node->init(allows_streaming => 1);
# Nobody but commits and our flushes writes WAL out.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 0
restart_after_crash = on
wal_writer_delay = 10s
wal_writer_flush_after = 0
wal_buffers = 16MB
autovacuum = off
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE pairs (id text PRIMARY KEY, v int);
	INSERT INTO docs (id, doc) SELECT 'd' || g, '{"v": 0}' FROM generate_series(1, 100) g;
	INSERT INTO pairs SELECT 'd' || g, 0 FROM generate_series(1, 100) g});
my $disagree = q{SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id
	WHERE d.id IS NULL OR p.id IS NULL OR (d.doc->>'v')::int <> p.v};
my $n = 0;

# Runs something in a session of its own, which stops at the place; returns the session and its pid.
sub stop_at
{
	my ($place, $settings, $what) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe(qq{$settings; SET docstore.debug_stop = '$place'; SELECT pg_backend_pid()});
	$session->query_until(qr/begun/, "\\echo begun\n$what;\n");
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return ($session, $pid) if is_stopped($pid);
		select undef, undef, undef, 0.01;
	}
	die "nobody stopped at \"$place\"";
}

sub strike
{
	my ($what, $session, $pid) = @_;
	if ($what eq 'the server')
	{
		kill_server($node);
		start_again($node);
	}
	else { kill_process($pid) }
	eval { $session->{run}->kill_kill; $session->{run}->finish };
	wait_for_store($node);
}

# One transaction: a new document, a changed and a deleted one, and their rows.
sub transaction
{
	my $old = $n;
	$n++;
	return qq{BEGIN;
		INSERT INTO docs VALUES ('new$n', '{"v": $n}');
		UPDATE docs SET doc = '{"v": $n}' WHERE id = 'd1';
		DELETE FROM docs WHERE id = 'new$old';
		INSERT INTO pairs VALUES ('new$n', $n);
		UPDATE pairs SET v = $n WHERE id = 'd1';
		DELETE FROM pairs WHERE id = 'new$old';
		COMMIT};
}

for my $place ('write', 'write logged', 'write done', 'commit', 'commit done')
{
	for my $victim ('the backend', 'the server')
	{
		for my $commit ($place =~ /commit/ ? ('on', 'local', 'off') : $victim eq 'the server' ? 'local' : 'off')
		{
			my $name = "$place, $victim, $commit";
			sql(transaction());
			my $before = $n;
			my ($session, $pid) = stop_at($place, "SET synchronous_commit = $commit", transaction());
			# Nobody else is held up, and nothing shows before it is committed.
			my $seen = $place eq 'commit done' ? $n : $before;
			is(sql(q{SELECT doc->>'v' FROM docs WHERE id = 'd1'}), $seen, "$name: what others see meanwhile");
			sql(q{BEGIN; UPDATE docs SET doc = '{"v": 7}' WHERE id = 'd2'; UPDATE pairs SET v = 7 WHERE id = 'd2'; COMMIT}) if $commit eq 'local';
			strike($victim, $session, $pid);
			is(sql($disagree), '0', "$name: documents and rows agree");
			my $after = sql(q{SELECT v FROM pairs WHERE id = 'd1'});
			if ($place eq 'commit done' && $commit ne 'off') { is($after, $n, "$name: it was committed") }
			elsif ($place ne 'commit done') { is($after, $before, "$name: it was not committed") }
			$n = $after;
		}
	}
}
is(sql('SELECT count(*) FROM docstore.verify()'), '0', 'no damage');

# Who rotates the memtable holds the write pin; who installs a table has the role of the worker.
for my $place ('rotate', 'install', 'install logged')
{
	for my $victim ('the backend', 'the server')
	{
		my $name = "$place, $victim";
		sql(transaction());
		sql('SET synchronous_commit = off;' . transaction());
		# whoever does it
		$node->append_conf('postgresql.conf', "docstore.debug_stop = '$place'");
		$node->reload;
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		$session->query_until(qr/begun/, "\\echo begun\nSELECT docstore.flush();\n");
		my $stopped;
		for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
		{
			($stopped) = grep { is_stopped($_) } @{ children($node) };
			last if defined $stopped;
			select undef, undef, undef, 0.01;
		}
		ok(defined $stopped, "$name: somebody stopped there");
		$node->append_conf('postgresql.conf', "docstore.debug_stop = ''");
		$node->reload;
		strike($victim, $session, $stopped);
		is(sql($disagree), '0', "$name: documents and rows agree");
		$n = sql(q{SELECT v FROM pairs WHERE id = 'd1'});
		sql('SELECT docstore.flush()');
		is(sql('SELECT count(*) FROM docstore.verify()'), '0', "$name: no damage");
	}
}

$node->stop;
done_testing();
