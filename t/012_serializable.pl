# SERIALIZABLE under load: rules that every transaction obeys by itself are never broken by several at once, over documents,
# over documents and rows, and over what is not there.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('serializable');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
max_connections = 25
max_pred_locks_per_transaction = 256
fsync = off
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	SELECT docstore.create_collection('shifts');
	CREATE TABLE rows (id text PRIMARY KEY, n int);
});

# Each may take 10 from either side if both sides together have as much.
append_to_file($node->basedir . '/skew.sql', q{
\set k random(1, 300)
\set side random(0, 2)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT (SELECT sum(doc::int) FROM docs WHERE id IN ('a' || :k, 'b' || :k)) + (SELECT n FROM rows WHERE id = 'c' || :k) AS total \gset
\if :total >= 10
\if :side = 0
UPDATE docs SET doc = to_jsonb(doc::int - 10) WHERE id = 'a' || :k;
\elif :side = 1
UPDATE docs SET doc = to_jsonb(doc::int - 10) WHERE id = 'b' || :k;
\else
UPDATE rows SET n = n - 10 WHERE id = 'c' || :k;
\endif
\endif
COMMIT;
});
# A shift has two people at most; ids are new, so nobody writes what another does.
append_to_file($node->basedir . '/phantom.sql', q{
\set k random(1, 40)
\set who random(1, 1000000000)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) AS taken FROM shifts WHERE id LIKE 's' || :k || '/%' \gset
\if :taken < 2
INSERT INTO shifts VALUES ('s' || :k || '/' || :who || '/' || :client_id, '{}');
\endif
COMMIT;
});

sub fresh
{
	$node->safe_psql('postgres', q{
		TRUNCATE docs;
		TRUNCATE shifts;
		TRUNCATE rows;
		INSERT INTO docs SELECT c || i, '5' FROM unnest('{a,b}'::text[]) AS c, generate_series(1, 300) AS i;
		INSERT INTO rows SELECT 'c' || i, 5 FROM generate_series(1, 300) AS i;
	});
	return;
}

# Some load in an isolation level; how often is a rule broken?
sub broken
{
	my ($level, $transactions) = @_;
	fresh();
	my @files;
	for my $name ('skew', 'phantom')
	{
		my $script = slurp_file($node->basedir . "/$name.sql");
		$script =~ s/SERIALIZABLE/$level/;
		my $file = $node->basedir . "/$name." . ($level =~ s/ .*//r) . '.sql';
		unlink $file;
		append_to_file($file, $script);
		push @files, '-f', $file;
	}
	command_ok([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 12, '-j', 2, '--max-tries', 100, '-t', $transactions, @files, 'postgres' ],
		"twelve clients, $level");
	return split /\|/, $node->safe_psql('postgres', q{
		SELECT (SELECT count(*) FROM rows AS r WHERE n + (SELECT sum(doc::int) FROM docs WHERE id IN ('a' || substr(r.id, 2), 'b' || substr(r.id, 2))) < 0),
			(SELECT count(*) FROM (SELECT FROM shifts GROUP BY split_part(id, '/', 1) HAVING count(*) > 2) AS s),
			(SELECT count(*) FROM shifts), (SELECT sum(n) FROM rows) + (SELECT sum(doc::int) FROM docs)
	});
}

my ($negative, $crowded, $shifts, $left) = broken('SERIALIZABLE', 250);
is($negative, 0, 'no account is overdrawn');
is($crowded, 0, 'no shift is crowded');
cmp_ok($shifts, '>', 40, 'but shifts are taken');
cmp_ok($left, '<', 3500, 'and money as well');

# Readers of the same data see only what obeys the rules, and never get 40001.
fresh();
my $bench = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', '8', '-j', '2', '--max-tries', '100', '-t', '250',
	'-f', $node->basedir . '/skew.sql', '-f', $node->basedir . '/phantom.sql', 'postgres' ], '>', \my $out, '2>', \my $err);
my $bad = 0;
my $reads = 0;
do
{
	my ($n, $c) = split /\|/, $node->safe_psql('postgres', q{
		BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
		SELECT (SELECT count(*) FROM rows AS r WHERE n + (SELECT sum(doc::int) FROM docs WHERE id IN ('a' || substr(r.id, 2), 'b' || substr(r.id, 2))) < 0),
			(SELECT count(*) FROM (SELECT FROM shifts GROUP BY split_part(id, '/', 1) HAVING count(*) > 2) AS s);
		COMMIT;
	});
	$bad += $n + $c;
	$reads++;
	$bench->pump_nb;
} while ($bench->pumpable);
IPC::Run::finish($bench);
is($bad, 0, "deferrable readers saw nothing wrong ($reads times)");

$node->stop;
done_testing();
