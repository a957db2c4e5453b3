# Kill -9 in the middle of writing: documents and rows of the same transactions agree, and what was acknowledged is there.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start finish kill_kill);

my $rounds = $ENV{DOCSTORE_CRASH_ROUNDS} || 6;
my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init(allows_streaming => 1);
# Small memtables, so that flush and compaction are always under way; no restart by itself but after a backend's crash.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 200ms
restart_after_crash = on
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	SELECT docstore.create_collection('alone');
	CREATE TABLE pairs (id text PRIMARY KEY, v int);
});

# One writer: documents and rows in one transaction; a third of them roll back to a savepoint, some abort.
my $pairs = q{
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
};
my $file = $node->basedir . '/pairs.sql';
append_to_file($file, $pairs);

my $acknowledged = '';
for my $round (1 .. $rounds)
{
	my $pgbench = start([ 'pgbench', '-n', '-f', $file, '-c', '4', '-j', '2', '-T', '60', '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \my $out, '2>', \my $err);
	# A client that writes documents only and says what was acknowledged.
	my ($in, $ack, $errors) = ('', '', '');
	my $client = start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, 'postgres' ], '<', \$in, '>', \$ack, '2>', \$errors);
	$in .= "INSERT INTO alone (id, doc) VALUES ('r$round/$_', '{}') RETURNING id;\n" for 1 .. 3000;

	# Wait for real progress, then strike.
	my $target = $node->safe_psql('postgres', 'SELECT count(*) FROM pairs') + 300;
	$client->pump_nb while 0;
	my $deadline = time + 60;
	while (1)
	{
		die 'no progress' if time > $deadline;
		$client->pump_nb;
		last if length($ack) > 500 && $node->safe_psql('postgres', "SELECT count(*) >= $target FROM pairs") eq 't';
	}
	if ($round % 2)
	{
		# one backend: WAL buffers are lost, our files survive, transaction ids are handed out again
		my $victim = $node->safe_psql('postgres',
			q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1});
		kill 'KILL', $victim;
	}
	elsif ($round % 4 == 2)
	{
		my $compactor = $node->safe_psql('postgres', q{SELECT compactor_pid FROM docstore.status});
		kill 'KILL', $compactor;
	}
	else
	{
		$node->stop('immediate');
	}
	eval { $client->finish; };
	eval { $pgbench->kill_kill; };
	$acknowledged .= $ack;
	$node->start if $round % 4 == 0;
	$node->poll_query_until('postgres', q{SELECT state = 'running' FROM docstore.status}) or die 'the store did not recover';

	is($node->safe_psql('postgres', q{
		SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id
		WHERE d.id IS NULL OR p.id IS NULL OR (d.doc->>'v')::int <> p.v}), '0', "round $round: documents and rows agree");
	my %there = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT id FROM alone');
	my @lost = grep { $_ ne '' && !$there{$_} } split /\n/, $acknowledged;
	is(scalar(@lost), 0, "round $round: acknowledged documents are there") or diag("lost: @lost[0 .. ($#lost > 9 ? 9 : $#lost)]");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', "round $round: no damage");
}
cmp_ok(($acknowledged =~ tr/\n//), '>', 100, 'the document-only client was heard');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM docs'), '>', 1000, 'there was something to lose');

$node->stop;
done_testing();
