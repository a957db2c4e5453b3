# Base backups of a store that is written to, flushed and compacted meanwhile: the copy holds documents and rows as of the
# backup's end.  What a copy without the WAL that it needs does: say so.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::RecursiveCopy;
use Test::More;
use File::Copy qw(copy);
use IPC::Run qw(start);

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 0
wal_keep_size = 0
max_wal_size = 64MB
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	SELECT docstore.create_collection('quiet');
	CREATE TABLE pairs (id text PRIMARY KEY, v int);
	INSERT INTO quiet (id, doc) SELECT 'q' || g, jsonb_build_object('n', g) FROM generate_series(1, 500) g;
});

# Inserts, updates and deletions of both in one transaction.
my $pairs = $node->basedir . '/pairs.sql';
append_to_file($pairs, q{
\set k random(1, 3000)
\set v random(1, 2000000000)
BEGIN;
DELETE FROM pairs WHERE id = 'k' || :k;
DELETE FROM docs WHERE id = 'k' || :k;
INSERT INTO docs (id, doc) VALUES ('k' || :k, jsonb_build_object('v', :v, 'pad', repeat(md5(:v::text), 20)));
INSERT INTO pairs VALUES ('k' || :k, :v);
COMMIT;
});
my $disagree = q{SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id
	WHERE d.id IS NULL OR p.id IS NULL OR (d.doc->>'v')::int <> p.v};

sub load
{
	my ($seconds) = @_;
	return start([ 'pgbench', '-n', '-f', $pairs, '-c', 4, '-T', $seconds, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', '/dev/null', '2>', '/dev/null');
}

# A copy that says how it went.
sub check_copy
{
	my ($copy, $name, $marks) = @_;
	is($copy->safe_psql('postgres', $disagree), '0', "$name: documents and rows agree");
	cmp_ok($copy->safe_psql('postgres', 'SELECT count(*) FROM docs'), '>', 500, "$name: they are there");
	is($copy->safe_psql('postgres', q{SELECT count(*) FROM quiet WHERE id LIKE 'q%'}), '500', "$name: also those written long before");
	is($copy->safe_psql('postgres', q{SELECT string_agg(id, ' ' ORDER BY id) FROM quiet WHERE id LIKE 'mark%'}), $marks, "$name: also the last ones before it");
	is($copy->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', "$name: no damage");
	$copy->safe_psql('postgres', q{UPDATE docs SET doc = doc || '{"copied": true}'; SELECT docstore.compact()});
	is($copy->safe_psql('postgres', $disagree), '0', "$name: it goes on");
}

# pg_basebackup.  Its checkpoint and the first files take milliseconds: the memtables have to be in tables by then.
for my $round (1 .. 3)
{
	my $load = load(60);
	$node->poll_query_until('postgres', 'SELECT count(*) > 500 FROM docs') or die 'no load';
	$node->safe_psql('postgres', qq{INSERT INTO quiet VALUES ('mark$round', '{}')});
	my $path = $node->backup_dir . "/round$round";
	# Slow enough that tables come and go.
	$node->command_ok([ 'pg_basebackup', '-D', $path, '-h', $node->host, '-p', $node->port, '-c', 'fast', '-X', 'stream',
		'--no-sync', '--max-rate', '20M' ], "round $round: a backup under load");
	$load->kill_kill;
	eval { $load->finish };
	my $copy = PostgreSQL::Test::Cluster->new("copy$round");
	$copy->init_from_backup($node, "round$round");
	$copy->start;
	check_copy($copy, "round $round", join(' ', map { "mark$_" } 1 .. $round));
	$copy->stop;
	$copy->clean_node;
}

# pg_backup_start and a tool that copies slowly: everything is rewritten between what names the tables and the tables.
sub low_level
{
	my ($name, @order) = @_;
	my $path = $node->backup_dir . "/$name";
	my $session = $node->background_psql('postgres');
	$node->safe_psql('postgres', qq{INSERT INTO quiet VALUES ('mark$name', '{}')});
	$session->query_safe(q{SELECT pg_backup_start('x', true)});
	for my $step (@order)
	{
		PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir, $path,
			filterfn => sub { return $_[0] !~ m{^((docstore|pg_wal|pg_replslot)/.|postmaster\.)} })
			if $step eq 'rest';
		if ($step ne 'rest')
		{
			for my $file (glob($node->data_dir . '/docstore/*'))
			{
				my $base = (split '/', $file)[-1];
				next unless ($step eq 'names') == ($base =~ /^(CURRENT|MANIFEST.*)$/);
				copy($file, "$path/docstore/$base") or die "$file: $!";
			}
		}
		$node->safe_psql('postgres', q{UPDATE docs SET doc = doc || '{"again": true}'; SELECT docstore.flush(); SELECT docstore.compact()});
	}
	my $label = $session->query_safe(q{SELECT labelfile FROM pg_backup_stop(false)});
	open(my $fh, '>', "$path/backup_label") or die;
	print $fh "$label\n";
	close($fh);
	for my $file (grep { -f } glob($node->data_dir . '/pg_wal/*'))
	{
		copy($file, "$path/pg_wal/" . (split '/', $file)[-1]) or die "$file: $!";
	}
	$session->quit;
	my $copy = PostgreSQL::Test::Cluster->new("copy$name");
	$copy->init_from_backup($node, $name);
	$copy->start;
	check_copy($copy, $name, 'mark1 mark2 mark3' . ($name eq 'second' ? ' markfirst marksecond' : ' markfirst'));
	my $log = slurp_file($copy->logfile);
	$copy->stop;
	$copy->clean_node;
	return $log;
}
low_level('first', 'rest', 'names', 'tables');
like(low_level('second', 'rest', 'tables', 'names'), qr/an earlier state of its files/, 'tables that the copied manifest names are not in the copy');

# A copy without the store's files is no empty store, if its WAL says that there was one.
{
	my $load = load(60);
	$node->backup('without');
	$load->kill_kill;
	eval { $load->finish };
}
unlink $_ for glob($node->backup_dir . '/without/docstore/*');
{
	my $copy = PostgreSQL::Test::Cluster->new('without');
	$copy->init_from_backup($node, 'without');
	$copy->start;
	my ($ret, $out, $err) = $copy->psql('postgres', 'SELECT count(*) FROM docs');
	isnt($ret, 0, 'a copy without the files of the store does not begin with an empty one');
	like($err, qr/the files of the store are missing/, 'and says why');
	$copy->stop;
	$copy->clean_node;
}

# Files that a backup kept go when it is over.
ok($node->poll_query_until('postgres', q{
	SELECT (SELECT count(*) FROM pg_ls_dir('docstore') f WHERE f LIKE '%.ldb') = (SELECT files FROM docstore.status)}),
	'files that the backups kept are gone');

# A standby refuses to read.  Without the WAL since its base backup a promoted one says what is missing.
sub standby
{
	my ($name) = @_;
	$node->backup("for_$name");
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$standby->init_from_backup($node, "for_$name", has_streaming => 1);
	$standby->start;
	return $standby;
}
my $keeping = standby('keeping');
$keeping->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('docstore', true)});
my $forgetful = standby('forgetful');
my ($ret, $out, $err) = $forgetful->psql('postgres', 'SELECT count(*) FROM docs');
isnt($ret, 0, 'a standby refuses to read');
like($err, qr/collections cannot be read while the server is in recovery/, 'with the reason');
for my $i (1 .. 3)
{
	$node->safe_psql('postgres', qq{UPDATE docs SET doc = doc || '{"more": $i}'; SELECT pg_switch_wal(); CHECKPOINT});
	$node->wait_for_catchup($_, 'replay', $node->lsn('insert')) for ($forgetful, $keeping);
	$_->safe_psql('postgres', 'CHECKPOINT') for ($forgetful, $keeping);
}
my $archive = $node->basedir . '/archive';
mkdir $archive or die $!;
copy($_, $archive) or die "$_: $!" for grep { -f } glob($keeping->data_dir . '/pg_wal/*');
$_->promote for ($forgetful, $keeping);
($ret, $out, $err) = $forgetful->psql('postgres', 'SELECT count(*) FROM docs');
isnt($ret, 0, 'a promoted standby without the WAL since its base backup refuses to read');
like($err, qr/WAL .* that the store needs is gone/, 'with the reason');
like($err, qr/HINT:.*Copy the missing WAL into pg_wal.*or restore a base backup/, 'and what to do');
is($forgetful->safe_psql('postgres', 'SELECT state FROM docstore.status'), 'failed', 'the status says so');
is($keeping->safe_psql('postgres', $disagree), '0', 'one that kept it with a slot has all documents');
is($keeping->safe_psql('postgres', q{SELECT count(*) FROM docs WHERE doc->>'more' = '3'}), $keeping->safe_psql('postgres', q{SELECT count(*) FROM pairs}), 'as of the end');
# Put back, it is read, without a restart.
# (The checkpoint of the promotion removes WAL that it does not need, and may be late.)
$forgetful->safe_psql('postgres', 'CHECKPOINT');
for my $file (grep { !-e $forgetful->data_dir . "/pg_wal/$_" } map { (split '/')[-1] } glob("$archive/*"))
{
	copy("$archive/$file", $forgetful->data_dir . "/pg_wal/$file") or die "$file: $!";
}
ok($forgetful->poll_query_until('postgres', q{SELECT state = 'running' FROM docstore.status}), 'it comes up when the missing WAL is copied there');
is($forgetful->safe_psql('postgres', $disagree), '0', 'with all documents');
is($forgetful->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'and no damage');
$_->stop for ($forgetful, $keeping);
$node->stop;

# WAL that was thrown away.
command_ok([ 'pg_resetwal', '-D', $node->data_dir ], 'pg_resetwal');
$node->start;
($ret, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM docs');
isnt($ret, 0, 'without the WAL since the last flush the store does not come up');
like($err, qr/WAL .* that the store needs is gone/, 'with the reason');
like($err, qr/HINT:.*docstore.ignore_missing_wal/, 'and what to do');
$node->append_conf('postgresql.conf', 'docstore.ignore_missing_wal = on');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT state = 'running' FROM docstore.status}), 'it does when told to');
like(slurp_file($node->logfile), qr/comes up without WAL that it needs/, 'the log says so');
is($node->safe_psql('postgres', q{SELECT count(*) FROM quiet WHERE id LIKE 'q%'}), '500', 'what was in tables is there');
$node->safe_psql('postgres', q{INSERT INTO quiet VALUES ('new', '{}')});
$node->append_conf('postgresql.conf', 'docstore.ignore_missing_wal = off');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) FROM quiet WHERE id = 'new'}), '1', 'and it goes on from there');

$node->stop;
done_testing();
