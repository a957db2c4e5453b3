# Four cases that break designs with a log of their own beside the WAL, or without care for its order.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Strike;

my $node = PostgreSQL::Test::Cluster->new('lost_wal');
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
checkpoint_timeout = 1h
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub crash
{
	kill_server($node);
	start_again($node);
	wait_for_store($node);
}
sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE pairs (id text PRIMARY KEY);
	CREATE TABLE burnt (i int)});
my $disagree = q{SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id WHERE d.id IS NULL OR p.id IS NULL};

# ---- 1. A transaction that wrote nothing but documents is acknowledged: then it is durable. ----

sql(q{INSERT INTO docs VALUES ('updated', '1'), ('deleted', '1'), ('put', '1')});
for my $commit ('on', 'local')
{
	for my $write (
		[ "INSERT INTO docs VALUES ('inserted $commit', '1')", "SELECT count(*) = 1 FROM docs WHERE id = 'inserted $commit'" ],
		[ "UPDATE docs SET doc = '\"$commit\"' WHERE id = 'updated'", "SELECT doc = '\"$commit\"' FROM docs WHERE id = 'updated'" ],
		[ "SELECT docstore.put('docs', 'put', '\"$commit\"')", "SELECT doc = '\"$commit\"' FROM docs WHERE id = 'put'" ],
		[ "DELETE FROM docs WHERE id = 'deleted'", "SELECT count(*) = 0 FROM docs WHERE id = 'deleted'" ])
	{
		sql("SET synchronous_commit = $commit; $write->[0]");
		crash();
		is(sql($write->[1]), 't', "document only, $commit: " . (split / /, $write->[0])[0]);
	}
	sql(q{INSERT INTO docs VALUES ('deleted', '1')}) if $commit eq 'on';
}
sql('DELETE FROM docs');

# From now on WAL is written out by those who have to, and by nobody else.
sub stop_walwriter
{
	my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
	kill 'STOP', $pid;
	return $pid;
}

# Commits with transactions of its own until the id has been handed out.
sub hand_out
{
	my ($xid) = @_;
	1 while sql('WITH w AS (INSERT INTO burnt VALUES (1) RETURNING i) SELECT pg_current_xact_id() FROM w') <= $xid;
}

# A transaction in progress: its documents, one of them large, and what it is called.
sub in_progress
{
	my ($name) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my ($pid, $xid, $etag) = split /\|/, $session->query_safe(qq{
		SET synchronous_commit = off;
		BEGIN;
		INSERT INTO docs (id, doc) SELECT '$name/' || g, '1' FROM generate_series(1, 50) g;
		INSERT INTO docs VALUES ('$name/large', to_jsonb(repeat('x', 100000)));
		SELECT pg_backend_pid(), pg_current_xact_id(), max(etag) FROM docs;});
	return ($session, $pid, $xid, $etag);
}

# ---- 2. A backend is killed; WAL in buffers is lost, what was written to files is not; its id is handed out again. ----

for my $flush (0, 1)
{
	my $walwriter = stop_walwriter();
	my ($session, $pid, $xid, $etag) = in_progress('killed');
	sql('SELECT docstore.flush()') if $flush;
	kill_process($pid);
	kill_process($walwriter); # it would not end by itself
	eval { $session->{run}->kill_kill; $session->{run}->finish };
	wait_for_store($node);
	hand_out($xid);
	my $name = $flush ? 'a table' : 'a memtable';
	is(sql('SELECT count(*) FROM docs'), '0', "what a killed backend left in $name never happened");
	is(sql($disagree), '0', 'also not by halves');
	sql(q{INSERT INTO docs VALUES ('killed/1', '2')});
	is(sql(q{SELECT count(*), max(doc::text) FROM docs}), '1|2', 'others can write it');
	cmp_ok(sql('SELECT max(etag) FROM docs'), '>', $etag, 'and etags do not go back');
	sql('SELECT docstore.compact(); DELETE FROM docs');
}

# ---- 3. An asynchronous commit is settled in a table before its commit record is durable. ----

for my $i (1 .. 3)
{
	stop_walwriter();
	sql(qq{SET synchronous_commit = off; BEGIN;
		INSERT INTO docs VALUES ('async$i', '1'), ('async$i/large', to_jsonb(repeat('x', 100000)));
		INSERT INTO pairs VALUES ('async$i'), ('async$i/large');
		COMMIT});
	sql($i == 2 ? 'SELECT docstore.compact()' : 'SELECT docstore.flush()');
	crash();
	is(sql($disagree), '0', "settled in a table, $i: documents and rows agree");
}
is(sql('SELECT count(*) FROM pairs'), '6', 'flushing made the commits durable');
# A deletion, too: what it replaced is dropped when it is settled.
stop_walwriter();
sql(q{SET synchronous_commit = off; BEGIN; DELETE FROM docs WHERE id LIKE 'async1%'; DELETE FROM pairs WHERE id LIKE 'async1%'; COMMIT});
sql('SELECT docstore.compact()');
crash();
is(sql($disagree), '0', 'a deletion: documents and rows agree');
# Not flushed, it may be lost, but as a whole.
stop_walwriter();
sql(q{SET synchronous_commit = off; BEGIN; DELETE FROM docs; DELETE FROM pairs; COMMIT});
crash();
is(sql($disagree), '0', 'lost: documents and rows agree');

# ---- 4. A table is installed: then the WAL of what is in it is durable. ----

sql('DELETE FROM docs; DELETE FROM pairs');
for my $way ('flush', 'compact')
{
	stop_walwriter();
	my ($session, $pid, $xid, $etag) = in_progress($way);
	sql("SELECT docstore.$way()");
	crash();
	eval { $session->{run}->kill_kill; $session->{run}->finish };
	hand_out($xid);
	is(sql('SELECT count(*) FROM docs'), '0', "$way: what was in progress when the server died never happened");
	sql(qq{INSERT INTO docs VALUES ('$way/1', '2')});
	cmp_ok(sql('SELECT max(etag) FROM docs'), '>', $etag, 'etags do not go back');
	is(sql('SELECT count(*) FROM docs'), '1', 'others can write it');
	sql('DELETE FROM docs; SELECT docstore.compact()');
}
is(sql('SELECT count(*) FROM docstore.verify()'), '0', 'no damage');

$node->stop;
done_testing();
