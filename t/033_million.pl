# What one changed document costs in a group of a million rows: a block, and a step on each level above it, and nothing of
# other groups. Counted are reductions, and rows and partial results that the reduce looked at.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 1000000;
my $block = 128;  # the default of docstore.view_block_rows
my $fanout = 16;  # of inner nodes (view/tree.c)
# The nodes of a level share the rows by a hash: where a level's have a quarter of the block on the average there is no deeper one.
my $levels = 1;
for (my $mean = $rows; $mean > $block / 4; $mean /= $fanout) { $levels++ }

my $node = PostgreSQL::Test::Cluster->new('million');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
track_functions = all
fsync = off
jit = off
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub state_of_view
{
	sql(q{SELECT docstore.wait_for_view('v', '10min')});
	return split(/\|/, sql(q{SELECT reductions, groups, rows FROM docstore.view_status}));
}

# Calls of looked_at, once the indexer has told of them.
sub looked_at
{
	my ($least) = @_;
	my $calls = q{SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'looked_at'};
	$node->poll_query_until('postgres', "SELECT ($calls) >= $least") or die 'the indexer told nothing';
	return sql($calls);
}

sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('c');
	CREATE FUNCTION looked_at(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
});
sql(qq{INSERT INTO c SELECT 'd' || g, jsonb_build_object('g', 'large', 'n', g) FROM generate_series(1, $rows) AS g});
sql(q{INSERT INTO c SELECT 'e' || g, jsonb_build_object('g', 'small' || g % 1000, 'n', g) FROM generate_series(1, 3000) AS g});
sql(q{
	SELECT docstore.create_view('v', 'SELECT doc->>''g'' AS g, (doc->>''n'')::bigint AS n, 1::bigint AS rows FROM docs', '{c}',
		reduce => 'SELECT public.looked_at(g) AS g, sum(n)::bigint AS n, sum(rows)::bigint AS rows FROM results GROUP BY 1');
});
my ($reductions, $groups, $mapped) = state_of_view();
is($groups, 1001, 'groups');
is($mapped, $rows + 3000, 'rows');
my $sum = $rows * ($rows + 1) / 2;
is(sql(q{SELECT n, rows FROM v WHERE g = 'large'}), "$sum|$rows", 'a million rows in a group');
cmp_ok($reductions, '>', $rows / $block, 'which has a tree');
my $looked = looked_at($rows);

# After a change: the group is right, and it cost at most so many reductions, the lowest of a block, the others of nodes' children.
sub costs
{
	my ($change, $expected, $most, $what) = @_;
	my $most_looked = $block + $most * $fanout;
	sql($change);
	my ($after) = state_of_view();
	is(sql(q{SELECT n, rows FROM v WHERE g = 'large'}), $expected, "$what: right");
	cmp_ok($after - $reductions, '>=', 1, "$what: something was reduced");
	cmp_ok($after - $reductions, '<=', $most, "$what: at most a reduction on each level");
	my $then = looked_at($looked + 1);
	cmp_ok($then - $looked, '<=', $most_looked, "$what: of few rows and partial results");
	note("$what: " . ($after - $reductions) . ' reductions of ' . ($then - $looked));
	($reductions, $looked) = ($after, $then);
}

$sum += 1000;
costs(q{UPDATE c SET doc = '{"g": "large", "n": 1777}' WHERE id = 'd777'}, "$sum|$rows", $levels, 'a changed document');
$sum -= 12345;
costs(q{DELETE FROM c WHERE id = 'd12345'}, "$sum|" . ($rows - 1), $levels, 'a deleted document');
$sum += 12345;
costs(q{INSERT INTO c VALUES ('d12345', '{"g": "large", "n": 12345}')}, "$sum|$rows", $levels, 'a new document');
$sum -= 5;
costs(q{UPDATE c SET doc = '{"g": "small5", "n": 5}' WHERE id = 'd5'}, "$sum|" . ($rows - 1), $levels + 1, 'a document that changes its group');
is(sql(q{SELECT n, rows FROM v WHERE g = 'small5'}), sql(q{SELECT sum((doc->>'n')::bigint), count(*) FROM c WHERE doc->>'g' = 'small5'}), 'the other group is right, too');

# Nothing else was touched.
is(sql(q{SELECT count(*) FROM (SELECT g, n, rows FROM v EXCEPT ALL SELECT doc->>'g', sum((doc->>'n')::bigint), count(*) FROM c GROUP BY 1) AS o}), '0', 'all groups');
$node->stop;
done_testing();
