# Several compactions run at the same time, each in a process of its own, and docstore.compactions shows them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Strike;

my $node = PostgreSQL::Test::Cluster->new('compactions');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.table_size = '64kB'
docstore.block_cache_size = '4MB'
docstore.compression = none
docstore.max_compactions = 3
restart_after_crash = on
});
$node->start;
my $mergers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'docstore merger'};
ok($node->poll_query_until('postgres', $mergers, '2'), 'beside the compactor there are two mergers');

# Enough for four levels, then changes everywhere, at a rate that lets compactions last.
$node->safe_psql('postgres', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('a');
	INSERT INTO a SELECT 'a/' || g, jsonb_build_object('n', g, 'pad', repeat(md5(g::text), 20)) FROM generate_series(1, 20000) g;
	SELECT docstore.compact()});
$node->append_conf('postgresql.conf', "docstore.background_rate = '500kB'");
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT current_setting('docstore.background_rate') = '500kB'}), 'reload');
$node->safe_psql('postgres', q{UPDATE a SET doc = jsonb_set(doc, '{n}', to_jsonb((doc->>'n')::int + 1)) WHERE hashtext(id) % 3 = 0});
ok($node->poll_query_until('postgres', q{SELECT count(*) >= 2 FROM docstore.compactions}), 'two compactions run at the same time');
# The next look may find others; each belongs to a process that works.
ok($node->poll_query_until('postgres', q{
	SELECT count(*) >= 2 AND count(DISTINCT c.pid) = count(*) AND bool_and(a.backend_type IN ('docstore compactor', 'docstore merger'))
		AND bool_and(c.output_level >= c.level AND c.files > 0 AND c.bytes > 0 AND c.done BETWEEN 0 AND 1 AND c.running_ms >= 0)
	FROM docstore.compactions c JOIN pg_stat_activity a USING (pid)}), 'of different processes');

# A merger that is told to end gives up what it does, and comes back; one that is killed takes the server along.
my $merging = q{SELECT c.pid FROM docstore.compactions c JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'docstore merger' LIMIT 1};
ok($node->poll_query_until('postgres', "SELECT EXISTS ($merging)"), 'a merger merges');
ok($node->poll_query_until('postgres', "SELECT coalesce((SELECT pg_terminate_backend(pid) FROM ($merging) m), false)"), 'it is told to end');
ok($node->poll_query_until('postgres', $mergers, '2'), 'and is started again');
ok($node->poll_query_until('postgres', "SELECT EXISTS ($merging)"), 'a merger merges again');
my $pid = $node->safe_psql('postgres', $merging) || $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'docstore merger' LIMIT 1});
kill_and_recover($node, $pid);
ok($node->poll_query_until('postgres', qq{SELECT count(*) = 2 AND bool_and(pid <> $pid) FROM pg_stat_activity WHERE backend_type = 'docstore merger'}),
	'after a kill the server recovers');

# All the while nothing is lost, and in the end nothing is left over.
my $sum = q{SELECT count(*), sum((doc->>'n')::bigint) - count(*) FILTER (WHERE hashtext(id) % 3 = 0) FROM a};
is($node->safe_psql('postgres', $sum), '20000|200010000', 'every document is as it was written');
$node->append_conf('postgresql.conf', "docstore.background_rate = 0");
$node->reload;
# Dropping, compacting and settling go between merges of others.
$node->safe_psql('postgres', q{SELECT docstore.create_collection('b');
	INSERT INTO b SELECT 'b/' || g, jsonb_build_object('n', g, 'pad', repeat(md5(g::text), 20)) FROM generate_series(1, 5000) g});
$node->safe_psql('postgres', q{UPDATE a SET doc = doc || '{"m": 1}' WHERE hashtext(id) % 5 = 0});
$node->safe_psql('postgres', q{SELECT docstore.drop_collection('b'); SELECT docstore.compact('a')});
ok($node->poll_query_until('postgres', q{SELECT compaction_debt = 0 AND memtables_waiting = 0 AND NOT EXISTS (SELECT FROM docstore.compactions) FROM docstore.status}),
	'the work comes to an end');
$node->safe_psql('postgres', 'SELECT docstore.compact()');
is($node->safe_psql('postgres', $sum), '20000|200010000', 'and still is');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
ok($node->poll_query_until('postgres', q{
	SELECT count(*) = (SELECT files FROM docstore.status) FROM pg_ls_dir('docstore') f WHERE f LIKE '%.ldb'}), 'no file is left over');

# With one there is only the compactor.
$node->append_conf('postgresql.conf', 'docstore.max_compactions = 1');
$node->restart;
is($node->safe_psql('postgres', $mergers), '0', 'no merger');
is($node->safe_psql('postgres', $sum), '20000|200010000', 'nothing is lost');
$node->stop;
done_testing();
