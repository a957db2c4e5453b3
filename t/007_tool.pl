# docstore-tool on a stopped server's files: it refuses while the server runs, shows and verifies files, names damage, and
# repairs a store without a manifest so that every document is there again.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $bindir = `pg_config --bindir`;
chomp $bindir;
my $tool = "$bindir/docstore-tool";

my $node = PostgreSQL::Test::Cluster->new('tool');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
});
$node->start;
my $dir = $node->data_dir . '/docstore';
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('things');
	INSERT INTO things (id, doc) SELECT 'things/' || i, jsonb_build_object('n', i) FROM generate_series(1, 2000) i;
	SELECT docstore.flush();
	UPDATE things SET doc = doc || '{"again": true}' WHERE (doc->>'n')::int % 3 = 0;
	DELETE FROM things WHERE (doc->>'n')::int % 10 = 7;
	SELECT docstore.flush();
	INSERT INTO things (id, doc) VALUES ('things/last', '{"n": 0}');
});
my $sum = q{SELECT count(*), sum((doc->>'n')::int), count(*) FILTER (WHERE doc ? 'again') FROM things};
my $expected = $node->safe_psql('postgres', $sum);

sub run_tool
{
	my ($stdout, $stderr);
	IPC::Run::run([ $tool, @_ ], '>', \$stdout, '2>', \$stderr);
	return ($? >> 8, $stdout, $stderr);
}

my ($status, $out, $err) = run_tool('verify', $dir);
is($status, 2, 'refused while the server runs');
like($err, qr/a server with process id \d+ uses this data directory/, 'and says why');

$node->stop;
($status, $out, $err) = run_tool('stats', '--json', $dir);
is($status, 0, 'stats');
like($out, qr/^\{"level":0,"files":[1-9]/m, 'stats shows levels');
like($out, qr/"journal_position":[1-9]/, 'and the journal position');
($status, $out, $err) = run_tool('verify', $dir);
is($status, 0, 'verify');
like($out, qr/^files=[1-9]\d* entries=[1-9]\d* log_records=0 damages=0$/m, 'verify counts');

my ($manifest) = glob("$dir/MANIFEST-*");
($status, $out, $err) = run_tool('dump', $manifest);
is($status, 0, 'dump of a manifest');
like($out, qr/comparator="leveldb.BytewiseComparator"/, 'manifest has its comparator');
my @tables = sort glob("$dir/*.ldb");
($status, $out, $err) = run_tool('dump', '--json', @tables);
is($status, 0, 'dump of tables');
like($out, qr/"key":"things\/1"/, 'with ids');
is(scalar(grep { !/^\{.*\}$/ } split /\n/, $out), 0, 'an object a line');
($status, $out, $err) = run_tool('dump', "$dir/CURRENT");
is($status, 2, 'CURRENT cannot be dumped');

# Without CURRENT the store does not come up; repaired it does, and nothing is missing.
unlink("$dir/CURRENT") or die;
($status, $out, $err) = run_tool('verify', $dir);
is($status, 2, 'verify without CURRENT');
($status, $out, $err) = run_tool('repair', $dir);
is($status, 1, 'repair reports what was wrong');
like($out, qr/lost_tables=0/, 'and loses nothing');
$node->start;
is($node->safe_psql('postgres', $sum), $expected, 'every document is there after a repair without CURRENT');
$node->safe_psql('postgres', q{SELECT docstore.compact()});
is($node->safe_psql('postgres', $sum), $expected, 'and after a compaction');
is($node->safe_psql('postgres', q{SELECT count(*) FROM docstore.verify()}), '0', 'and nothing is damaged');
$node->stop;

# A damaged table: named by verify; what can be read is kept.
@tables = sort glob("$dir/*.ldb");
open(my $fh, '+<:raw', $tables[0]) or die;
seek($fh, 30, 0);
read($fh, my $byte, 1);
seek($fh, 30, 0);
print $fh chr(ord($byte) ^ 1);
close($fh);
my ($name) = $tables[0] =~ m{([^/]+)$};
($status, $out, $err) = run_tool('verify', $dir);
is($status, 1, 'verify finds damage');
like($err, qr/damage: file "$name" offset \d+: /, 'with file and offset');
($status, $out, $err) = run_tool('repair', $dir);
is($status, 1, 'repair reports it, too');
ok(-e "$tables[0].bad", 'the damaged file is kept');
($status, $out, $err) = run_tool('verify', $dir);
is($status, 0, 'afterwards nothing is damaged');
$node->start;
my ($count) = split /\|/, $node->safe_psql('postgres', $sum);
cmp_ok($count, '<', 1801, 'some documents were lost with their block');
is($node->safe_psql('postgres', q{INSERT INTO things (id, doc) VALUES ('things/new', '{}') RETURNING id}), 'things/new', 'the store takes writes');
$node->stop;

# Nothing is left that tells where WAL is to be read from.
unlink("$dir/CURRENT", glob("$dir/MANIFEST-*")) or die;
($status, $out, $err) = run_tool('repair', $dir);
is($status, 2, 'repair without any manifest wants a position');
like($err, qr/--position/, 'and says so');
done_testing();
