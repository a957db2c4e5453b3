# A numbered story for each step that flush, compaction and a switch of the manifest take on the disk: whoever does it
# stops there, and it alone, the server, or the power dies.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Strike;
use Disk;

my $node = PostgreSQL::Test::Cluster->new('steps');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 0
restart_after_crash = on
fsync = on
wal_sync_method = open_datasync
wal_writer_delay = 10s
wal_writer_flush_after = 0
wal_buffers = 16MB
autovacuum = off
});
my $seed = $ENV{DOCSTORE_CRASH_SEED} || int(rand(1 << 30));
note("DOCSTORE_CRASH_SEED=$seed");
srand($seed);
my $disk = Disk->new($node);
my $start = sub { $disk->start(@_) };
$disk->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE pairs (id text PRIMARY KEY, v int)});
my $disagree = q{SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id
	WHERE d.id IS NULL OR p.id IS NULL OR (d.doc->>'v')::int <> p.v};
my $n = 0;
my @strikes = ('process', 'server', 'power');
my $story = 0;

# New, changed and deleted documents and their rows; the last of them asynchronously.
sub change
{
	for my $commit ('on', 'off')
	{
		$n++;
		sql(qq{SET synchronous_commit = $commit; BEGIN;
			INSERT INTO docs (id, doc) SELECT 'n$n/' || g, jsonb_build_object('v', $n, 'pad', repeat(md5(g::text), 10)) FROM generate_series(1, 50) g;
			INSERT INTO pairs SELECT 'n$n/' || g, $n FROM generate_series(1, 50) g;
			UPDATE docs SET doc = doc || '{"v": $n}' WHERE id LIKE '%/1%'; UPDATE pairs SET v = $n WHERE id LIKE '%/1%';
			DELETE FROM docs WHERE id LIKE 'n%/2%'; DELETE FROM pairs WHERE id LIKE 'n%/2%';
			COMMIT});
	}
}

# Kills whom the rule stopped; everything must be well then.
sub strike
{
	my ($name) = @_;
	my ($pid, $operation) = $disk->stopped;
	my $what = $strikes[ $story++ % @strikes ];
	if ($what eq 'process') { kill_process($pid) }
	else
	{
		kill_server($node);
		$disk->cut if $what eq 'power';
		start_again($node, $start);
	}
	$disk->rule('');
	wait_for_store($node);
	$name = "$name ($operation), the $what dies";
	is(sql($disagree), '0', "$name: documents and rows agree");
	cmp_ok(sql('SELECT max(v) FROM pairs'), '>=', $n - 1, "$name: what was acknowledged is there");
	is(sql('SELECT count(*) FROM docstore.verify()'), '0', "$name: no damage");
	$n = sql('SELECT max(v) FROM pairs');
}

# Something that is done in a session of its own.
sub begin
{
	my ($what) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\n$what;\n");
	return $session;
}
sub end { my ($session) = @_; eval { $session->{run}->kill_kill; $session->{run}->finish } }

# (Before a step is after the one before it.)
my @table = ('create ldb', 'write ldb', 'sync ldb', 'syncdir *', 'write MANIFEST', 'sync MANIFEST');
for my $step (@table)
{
	for my $when ($step =~ /create/ ? ('before', 'after') : 'after')
	{
		change();
		$disk->rule("$step $when 1 stop");
		my $session = begin('SELECT docstore.flush()');
		strike("flush, $when $step");
		end($session);
	}
}
for my $step (@table, 'remove ldb')
{
	for my $when ($step =~ /create/ ? ('before', 'after') : 'after')
	{
		change();
		sql('SELECT docstore.flush()');
		change();
		# First the memtable is flushed, which takes the same steps but one.
		my $nth = $step eq 'remove ldb' ? 1 : 2;
		$disk->rule("$step $when $nth stop");
		my $session = begin('SELECT docstore.compact()');
		strike("compaction, $when $step");
		end($session);
	}
}
# Every start begins a new manifest; a temporary file becomes CURRENT.
for my $step ('create MANIFEST', 'write MANIFEST', 'sync MANIFEST', 'create dbtmp', 'write dbtmp', 'sync dbtmp', 'rename CURRENT', 'syncdir *', 'remove MANIFEST')
{
	for my $when ($step =~ /create/ ? ('before', 'after') : 'after')
	{
		change();
		kill_server($node);
		$disk->rule("$step $when 1 stop");
		start_again($node, $start);
		strike("manifest, $when $step");
	}
}

# What the crashes left is swept up.
sql('SELECT docstore.compact()');
ok($node->poll_query_until('postgres', q{
	SELECT (SELECT count(*) FROM pg_ls_dir('docstore') f WHERE f LIKE '%.ldb') = (SELECT files FROM docstore.status)}), 'no table is left over');
is(sql(q{SELECT count(*) FROM pg_ls_dir('docstore') f WHERE f LIKE '%.dbtmp' OR f LIKE '%.spill'}), '0', 'nor any other file');

$node->stop;
done_testing();
