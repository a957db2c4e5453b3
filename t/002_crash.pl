# Kill -9 in the middle of writing: documents and rows of the same transactions agree, and what was acknowledged is there.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start);
use FindBin;
use lib "$FindBin::RealBin/lib";
use Strike;

my $rounds = $ENV{DOCSTORE_CRASH_ROUNDS} || 8;
my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init(allows_streaming => 1);
# Small memtables, so that flush and compaction are always under way; a slow WAL writer, so that the WAL of
# asynchronous commits is lost and their transaction ids are handed out again.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 200ms
restart_after_crash = on
wal_writer_delay = 10s
wal_writer_flush_after = 0
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	SELECT docstore.create_collection('alone');
	SELECT docstore.create_collection('bulk');
	CREATE TABLE pairs (id text PRIMARY KEY, v int);
	CREATE TABLE loads (load text PRIMARY KEY, documents int);
});

# Documents and rows in one transaction; a third of them roll back to a savepoint, some abort.
my $pairs = $node->basedir . '/pairs.sql';
append_to_file($pairs, q{
\set k random(1, 2000000000)
\set what random(1, 10)
BEGIN;
INSERT INTO docs (id, doc) VALUES ('k' || :k || '/' || :client_id, jsonb_build_object('v', :what, 'pad', repeat('x', 300)));
INSERT INTO pairs VALUES ('k' || :k || '/' || :client_id, :what);
SAVEPOINT s;
INSERT INTO docs (id, doc) VALUES ('s' || :k || '/' || :client_id, '{"v": 0}');
\if :what < 4
ROLLBACK TO s;
\else
INSERT INTO pairs VALUES ('s' || :k || '/' || :client_id, 0);
\endif
\if :what = 10
ROLLBACK;
\else
COMMIT;
\endif
});
# A load: many documents, several memtables full, and one row that says so.
my $bulk = $node->basedir . '/bulk.sql';
append_to_file($bulk, q{
\set k random(1, 2000000000)
BEGIN;
INSERT INTO bulk (id, doc) SELECT 'b' || :k || '/' || g, jsonb_build_object('load', 'b' || :k, 'pad', repeat(md5(g::text), 5))
	FROM generate_series(1, 4000) g;
INSERT INTO loads VALUES ('b' || :k, 4000);
COMMIT;
});

sub pgbench
{
	my ($file, $clients, $options) = @_;
	local $ENV{PGOPTIONS} = $options;
	return start([ 'pgbench', '-n', '-f', $file, '-c', $clients, '-T', '120', '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', '/dev/null', '2>', '/dev/null');
}

# Never an empty pid: that would be our own process group.
sub kill_one
{
	my ($query) = @_;
	my $pid = $node->safe_psql('postgres', $query);
	like($pid, qr/^[1-9]\d*$/, 'a victim') or die 'nobody to kill';
	kill 'KILL', $pid;
}

my %strike = (
	'a backend' => sub {
		kill_one(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1});
	},
	'the compactor' => sub { kill_one(q{SELECT compactor_pid FROM docstore.status}); },
	'the postmaster' => sub { $node->kill9; },
	'all at once' => sub { $node->stop('immediate'); });
my @strikes = ('a backend', 'the compactor', 'the postmaster', 'a backend', 'all at once');

my $acknowledged = '';
for my $round (1 .. $rounds)
{
	my $what = $strikes[ ($round - 1) % @strikes ];
	my @writers = (pgbench($pairs, 3, ''), pgbench($pairs, 2, '-c synchronous_commit=off'), pgbench($bulk, 1, ''));
	# A client that writes documents only and says what was acknowledged.
	my ($in, $ack, $errors) = ('', '', '');
	my $client = start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, 'postgres' ], '<', \$in, '>', \$ack, '2>', \$errors);
	$in .= "INSERT INTO alone (id, doc) VALUES ('r$round/$_', '{}') RETURNING id;\n" for 1 .. 5000;

	# Strike when all have made progress.
	my $before = $node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM pairs) + 300 || $$ AND $$ || (SELECT count(*) FROM loads)');
	my ($few_pairs, $few_loads) = split / AND /, $before;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (1)
	{
		die "no progress: $errors" if time > $deadline;
		$client->pump_nb;
		last if length($ack) > 500 && $node->safe_psql('postgres',
			"SELECT (SELECT count(*) FROM pairs) >= $few_pairs AND (SELECT count(*) FROM loads) > $few_loads") eq 't';
	}
	$strike{$what}->();
	eval { $client->finish; };
	eval { $_->finish; } for @writers;
	$acknowledged .= $ack;

	# After a backend the postmaster restarts by itself; after the postmaster its children have to go first.
	start_again($node) if $what eq 'the postmaster' || $what eq 'all at once';
	wait_for_store($node);

	is($node->safe_psql('postgres', q{
		SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id
		WHERE d.id IS NULL OR p.id IS NULL OR (d.doc->>'v')::int <> p.v}), '0', "round $round, $what: documents and rows agree");
	is($node->safe_psql('postgres', q{
		SELECT count(*) FROM (SELECT doc->>'load' AS load, count(*) AS documents FROM bulk GROUP BY 1) b FULL JOIN loads l USING (load)
		WHERE b.documents IS DISTINCT FROM l.documents}), '0', "round $round, $what: loads are whole or not there");
	my %there = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT id FROM alone');
	my @lost = grep { $_ ne '' && !$there{$_} } split /\n/, $acknowledged;
	is(scalar(@lost), 0, "round $round, $what: acknowledged documents are there") or diag("lost: @lost[0 .. ($#lost > 9 ? 9 : $#lost)]");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', "round $round, $what: no damage");
}
cmp_ok(($acknowledged =~ tr/\n//), '>', 100, 'the document-only client was heard');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM docs'), '>', 1000, 'there was something to lose');

# Transaction ids are handed out again: what the first owner wrote and nobody flushed never happened, also when the
# second owner commits.
$node->append_conf('postgresql.conf', 'docstore.flush_delay = 0');
$node->restart;
my $again = 0;
for my $try (1 .. 10)
{
	my $owner = $node->background_psql('postgres', on_error_stop => 0);
	my ($pid, $xid) = split /\|/, $owner->query_safe(qq{
		SET synchronous_commit = off;
		BEGIN;
		INSERT INTO docs (id, doc) SELECT 'lost/$try/' || g, '{"v": 0}' FROM generate_series(1, 20) g;
		INSERT INTO pairs SELECT 'lost/$try/' || g, 0 FROM generate_series(1, 20) g;
		SELECT pg_backend_pid(), pg_current_xact_id();});
	kill_and_recover($node, $pid);
	eval { $owner->{run}->finish };
	my $next = 0;
	$next = $node->safe_psql('postgres', 'SELECT pg_current_xact_id()') while $next < $xid;
	$again++ if $next == $xid;
	is($node->safe_psql('postgres', q{SELECT count(*) FROM docs WHERE id LIKE 'lost/%'}), '0', "try $try: the lost documents stay lost")
		if $next == $xid;
	last if $again == 2;
}
is($again, 2, 'transaction ids were handed out again');

$node->stop;
done_testing();
