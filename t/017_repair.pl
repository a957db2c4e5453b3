# docstore.repair(): a store that does not come up is made usable again while the server runs.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('repaired');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '1MB'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('things');
	INSERT INTO things SELECT 'things/' || g, jsonb_build_object('n', g, 't', repeat(md5(g::text), 10)) FROM generate_series(1, 3000) g;
	SELECT docstore.flush();
	INSERT INTO things SELECT 'late/' || g, jsonb_build_object('n', g) FROM generate_series(1, 100) g;
	CREATE ROLE nobody LOGIN;
});
my $sum = q{SELECT count(*), sum((doc->>'n')::int) FROM things};
my $expected = $node->safe_psql('postgres', $sum);
my $dir = $node->data_dir . '/docstore';

sub fails_with
{
	my ($sql, $state, $name) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($err, qr/ERROR:  $state:/, $name);
	return $err;
}

sub start_failed
{
	my ($name) = @_;
	$node->start;
	ok($node->poll_query_until('postgres', q{SELECT state = 'failed' FROM docstore.status}), "$name: the store does not come up");
	like(fails_with($sum, '(?:XX001|55000)', "$name: reading says so"), qr/HINT:.*docstore\.repair\(\)/, "$name: and what to do");
}

like(fails_with('SELECT docstore.repair()', '55000', 'a store that is up is not repaired'), qr/HINT:.*docstore-tool repair/, 'and what to do instead');
fails_with('SET ROLE nobody; SELECT docstore.repair()', '42501', 'nor by anybody');

# Without CURRENT.
$node->stop;
unlink("$dir/CURRENT") or die;
start_failed('without CURRENT');
is($node->safe_psql('postgres', 'SELECT lost_tables, damaged_tables, tables > 0, wal_position IS NOT NULL FROM docstore.repair()'), '0|0|t|t', 'repaired');
is($node->safe_psql('postgres', $sum), $expected, 'every document is there');
is($node->safe_psql('postgres', q{SELECT count(*) FROM docstore.verify()}), '0', 'nothing is damaged');
$node->safe_psql('postgres', q{INSERT INTO things VALUES ('new', '{"n": 0}'); DELETE FROM things WHERE id = 'new'; SELECT docstore.compact()});
is($node->safe_psql('postgres', $sum), $expected, 'and after writes and a compaction');

# Without any manifest the slot says from where WAL is to be read.
$node->stop;
unlink("$dir/CURRENT", glob("$dir/MANIFEST-*")) or die;
start_failed('without manifests');
is($node->safe_psql('postgres', 'SELECT lost_tables, damaged_tables, tables > 0 FROM docstore.repair()'), '0|0|t', 'repaired');
is($node->safe_psql('postgres', $sum), $expected, 'every document is there');
$node->restart;
is($node->safe_psql('postgres', $sum), $expected, 'also after a restart');

# A manifest that ends in the middle, and a damaged table: what is lost is in the log.
$node->stop;
my ($manifest) = sort glob("$dir/MANIFEST-*");
truncate($manifest, 20) or die;
my ($table) = sort { -s $b <=> -s $a } glob("$dir/*.ldb");
open(my $fh, '+<:raw', $table) or die;
seek($fh, 100, 0);
print $fh "damage";
close($fh);
start_failed('damaged');
is($node->safe_psql('postgres', 'SELECT lost_tables, damaged_tables FROM docstore.repair()'), '0|1', 'repaired');
ok($node->log_contains(qr/docstore: repair: .*\n.*DETAIL:  File "docstore\/\d+\.ldb", offset \d+/), 'the log names file and offset');
ok(-e "$table.bad", 'the damaged file is kept');
my ($count) = split /\|/, $node->safe_psql('postgres', $sum);
cmp_ok($count, '<', 3100, 'some documents were lost with their block');
cmp_ok($count, '>', 2900, 'no more than that');
is($node->safe_psql('postgres', q{SELECT count(*) FROM docstore.verify()}), '0', 'nothing else is damaged');
$node->stop;
done_testing();
