# Views equal their maps run afresh, after random histories of changes, rollbacks, crashes and restarts; a build that was
# broken off goes on where it was; several databases; a database with views can be dropped.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use IPC::Run qw(start);
use FindBin;
use lib "$FindBin::RealBin/lib";
use Histories;
use Strike;

my $rounds = $ENV{DOCSTORE_VIEW_ROUNDS} || 100;
my $seed = $ENV{DOCSTORE_SEED} || time;
srand($seed);
note("DOCSTORE_SEED=$seed DOCSTORE_VIEW_ROUNDS=$rounds");

my $node = PostgreSQL::Test::Cluster->new('views');
$node->init(allows_streaming => 1);
# Small memtables, so that rows of views are flushed and compacted all the time.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 200ms
restart_after_crash = on
jit = off
});
$node->start;

sub indexer_pid
{
	my ($database) = @_;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'docstore indexer' AND datname = '$database'");
}

# ---- the oracle ----

my %maps = (
	flat => [ '{a}', 'k, n DESC', q{SELECT doc->>'k' AS k, (doc->>'n')::int AS n, etag FROM docs WHERE doc ? 'k'} ],
	many => [ '{a}', 't', q{SELECT t, count(*) AS times FROM docs, jsonb_array_elements_text(doc->'tags') AS t GROUP BY t} ],
	mixed => [ '{a,b}', 'n NULLS FIRST, kind',
		q{SELECT collection AS kind, (doc->>'n')::numeric AS n, doc FROM docs UNION ALL SELECT 'tag', NULL, x FROM docs, jsonb_array_elements(doc->'tags') AS x} ],
	picky => [ '{b}', 'n', q{SELECT (doc->>'m')::int AS n FROM docs} ],
);

sub documents
{
	my ($collections) = @_;
	$collections =~ s/[{}]//g;
	return join(' UNION ALL ', map { "SELECT id, doc, etag, '$_'::text COLLATE \"C\" AS collection, modified FROM $_" } split(/,/, $collections));
}

sub compare
{
	my ($view, $when) = @_;
	my ($collections, undef, $map) = @{ $maps{$view} };
	my $docs = documents($collections);
	# What the map fails for is not in the view.
	$docs = "SELECT * FROM ($docs) AS o WHERE doc->>'m' IS NULL OR doc->>'m' ~ '^[0-9]+\$'" if $view eq 'picky';
	my $fresh = "SELECT m.*, d.id FROM ($docs) AS d, LATERAL (WITH docs AS (SELECT d.*) SELECT * FROM ($map) AS q) AS m";
	# New columns stand behind the others.
	my $columns = $view ne 'flat' ? '*' : $map =~ /etag/ ? 'k, n, etag, id' : 'k, n, id';
	my $wrong = $node->safe_psql('postgres', qq{
		SELECT docstore.wait_for_view('$view', '60 s');
		SELECT (SELECT count(*) FROM (SELECT $columns FROM $view EXCEPT ALL $fresh) AS x) || ' too many, ' ||
			(SELECT count(*) FROM ($fresh EXCEPT ALL SELECT $columns FROM $view) AS y) || ' missing, ' ||
			((SELECT count(*) FROM $view) - (SELECT rows FROM docstore.view_status WHERE name = '$view')) || ' miscounted' });
	$wrong =~ s/^\n//;
	is($wrong, '0 too many, 0 missing, 0 miscounted', "$when: $view");
	if ($view eq 'picky')
	{
		is($node->safe_psql('postgres', q{SELECT count(*) FROM (
				(SELECT id, etag FROM docstore.view_errors WHERE view = 'picky' EXCEPT SELECT id, etag FROM b WHERE doc->>'m' !~ '^[0-9]+$')
				UNION ALL
				(SELECT id, etag FROM b WHERE doc->>'m' !~ '^[0-9]+$' EXCEPT SELECT id, etag FROM docstore.view_errors WHERE view = 'picky')) AS x}),
			'0', "$when: its errors");
	}
}

# ---- histories ----

$node->safe_psql('postgres', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('a'); SELECT docstore.create_collection('b')});
# Before anything was ever written.
$node->safe_psql('postgres', q{SELECT docstore.create_view('first', 'SELECT 1 AS one FROM docs', '{a}')});
is($node->safe_psql('postgres', q{SELECT docstore.wait_for_view('first', '30 s'); SELECT count(*) FROM first}), "\n0", 'a view of an empty store');
$node->safe_psql('postgres', q{SELECT docstore.drop_view('first')});
$node->safe_psql('postgres', history(40));
for my $view (sort keys %maps)
{
	my ($collections, $key, $map) = @{ $maps{$view} };
	$map =~ s/'/''/g;
	$node->safe_psql('postgres', "SELECT docstore.create_view('$view', '$map', '$collections', '$key')");
}
compare($_, 'built') for sort keys %maps;

for my $round (1 .. $rounds)
{
	my $event = (qw(nothing kill-indexer immediate restart kill-backend drop replace replace-and-crash))[ int(rand(8)) ];
	my ($out, $err) = ('', '');
	my $file = $node->basedir . "/history$round.sql";
	append_to_file($file, history(60));
	# Ends early, and with errors, where the server does.
	my $session = start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-f', $file ], '>', \$out, '2>', \$err);
	select(undef, undef, undef, rand(0.3));
	if ($event eq 'kill-indexer')
	{
		kill_and_recover($node, indexer_pid('postgres'));
	}
	elsif ($event eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($event eq 'restart')
	{
		$node->restart;
	}
	elsif ($event eq 'kill-backend')
	{
		my $pid = indexer_pid('postgres');
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") if $pid;
	}
	elsif ($event eq 'drop')
	{
		my ($collections, $key, $map) = @{ $maps{many} };
		$map =~ s/'/''/g;
		$node->safe_psql('postgres', "SELECT docstore.drop_view('many'); SELECT docstore.create_view('many', '$map', '$collections', '$key')");
	}
	elsif ($event =~ /^replace/)
	{
		# One with another order, and columns that come and go.
		my ($collections, $key, $map) = @{ $maps{flat} };
		if ($key eq 'n') { ($key, $map) = ('k, n DESC', q{SELECT doc->>'k' AS k, (doc->>'n')::int AS n, etag FROM docs WHERE doc ? 'k'}) }
		else { ($key, $map) = ('n', q{SELECT doc->>'k' AS k, (doc->>'n')::int + 1 AS n FROM docs WHERE doc ? 'n'}) }
		$maps{flat} = [ $collections, $key, $map ];
		$map =~ s/'/''/g;
		$node->safe_psql('postgres', "SELECT docstore.replace_view('flat', '$map', '$collections', '$key')");
		if ($event eq 'replace-and-crash')
		{
			select(undef, undef, undef, rand(0.2));
			$node->stop('immediate');
			$node->start;
		}
	}
	$session->finish;
	wait_for_store($node);
	compare($_, "round $round, $event") for sort keys %maps;
}

$node->safe_psql('postgres', q{SELECT docstore.replace_view('flat', 'SELECT doc->>''k'' AS k, (doc->>''n'')::int AS n, etag FROM docs WHERE doc ? ''k''', '{a}', 'k, n DESC'); });
$node->safe_psql('postgres', q{SELECT docstore.wait_for_view('flat')});

# ---- an etag that is taken early and committed late ----

my $early = $node->background_psql('postgres');
$early->query_safe(q{BEGIN; SELECT docstore.put('a', 'early', '{"k": "early", "n": 1}')});
$node->safe_psql('postgres', q{SELECT docstore.put('a', 'late', '{"k": "late", "n": 2}')});
my ($ret, $stdout, $stderr) = $node->psql('postgres', q{SELECT docstore.wait_for_view('flat', '300 ms')});
like($stderr, qr/did not catch up in time/, 'a wait ends when its time is over');
is($node->safe_psql('postgres', q{SELECT count(*) FROM flat WHERE k = 'early'}), '0', 'what is not committed is not in the view');
$early->query_safe('COMMIT');
$early->quit;
$node->safe_psql('postgres', q{SELECT docstore.wait_for_view('flat')});
is($node->safe_psql('postgres', q{SELECT string_agg(k, ',' ORDER BY k) FROM flat WHERE k IN ('early', 'late')}), 'early,late', 'nothing is skipped');

# An old snapshot sees the view as it was.
my $old = $node->background_psql('postgres');
my $was = $old->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM flat WHERE k = 'late'});
$node->safe_psql('postgres', q{DELETE FROM a WHERE id = 'late'; SELECT docstore.wait_for_view('flat'); SELECT docstore.compact()});
is($old->query_safe(q{SELECT count(*) FROM flat WHERE k = 'late'}), '1', 'an old snapshot sees the old rows');
$old->query_safe('COMMIT');
$old->quit;
is($node->safe_psql('postgres', q{SELECT count(*) FROM flat WHERE k = 'late'}), '0', 'a new one does not');

# ---- a build that is broken off ----

my $n = 60000;
$node->safe_psql('postgres', qq{
	SELECT docstore.create_collection('big');
	INSERT INTO big (id, doc) SELECT 'big/' || g, jsonb_build_object('n', g) FROM generate_series(1, $n) AS g;
	SELECT docstore.create_view('slow', 'SELECT (doc->>''n'')::int AS n, md5(repeat(id, 20)) AS m FROM docs', '{big}', 'n');});
my $killed = 0;
for my $way (qw(kill immediate restart))
{
	next unless $node->poll_query_until('postgres', q{SELECT built OR documents > } . (5000 * ($killed + 1)) . q{ FROM docstore.view_progress p JOIN docstore.view_index USING (storage_id) WHERE view = 'slow'});
	last if $node->safe_psql('postgres', q{SELECT state FROM docstore.view_status WHERE name = 'slow'}) eq 'ready';
	$killed++;
	kill_and_recover($node, indexer_pid('postgres')) if $way eq 'kill';
	$node->stop('immediate') if $way eq 'immediate';
	$node->start if $way eq 'immediate';
	$node->restart if $way eq 'restart';
	wait_for_store($node);
	$node->safe_psql('postgres', qq{UPDATE big SET doc = '{"n": -$killed}' WHERE id = 'big/$killed'; DELETE FROM big WHERE id = 'big/1$killed'});
}
cmp_ok($killed, '>', 0, "the build was broken off $killed times");
$node->safe_psql('postgres', q{SELECT docstore.wait_for_view('slow', '120 s')});
cmp_ok($node->safe_psql('postgres', q{SELECT documents_scanned FROM docstore.view_status WHERE name = 'slow'}), '<=', $n, 'and did not start over');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (
	(SELECT n, m, id FROM slow EXCEPT ALL SELECT (doc->>'n')::int, md5(repeat(id, 20)), id FROM big) UNION ALL
	(SELECT (doc->>'n')::int, md5(repeat(id, 20)), id FROM big EXCEPT ALL SELECT n, m, id FROM slow)) AS x}), '0', 'it is complete');

# Dropping gives the space back.
$node->safe_psql('postgres', 'SELECT docstore.compact()');
my $before = $node->safe_psql('postgres', 'SELECT bytes FROM docstore.status');
my $size = $node->safe_psql('postgres', q{SELECT estimated_bytes FROM docstore.view_status WHERE name = 'slow'});
cmp_ok($size, '>', 100000, 'a view has a size');
$node->safe_psql('postgres', q{SELECT docstore.drop_view('slow')});
ok($node->poll_query_until('postgres', "SELECT bytes < $before - $size / 2 FROM docstore.status"), "most of $size bytes come back");

# ---- databases ----

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('c'); INSERT INTO c VALUES ('x', '{"n": 1}');
	SELECT docstore.create_view('v', 'SELECT (doc->>''n'')::int AS n FROM docs', '{c}', 'n')});
$node->safe_psql('other', q{SELECT docstore.wait_for_view('v')});
is($node->safe_psql('other', 'SELECT n, id FROM v'), '1|x', 'another database has views of its own');
cmp_ok(indexer_pid('other'), '>', 0, 'and an indexer');
$node->restart;
$node->safe_psql('other', q{INSERT INTO c VALUES ('y', '{"n": 2}'); SELECT docstore.wait_for_view('v')});
is($node->safe_psql('other', 'SELECT count(*) FROM v'), '2', 'which comes back after a restart');
$node->safe_psql('postgres', 'ALTER DATABASE other RENAME TO another');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'docstore indexer' AND datname = 'another'}), 'a database can be renamed');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE another');
$node->safe_psql('copy', q{SELECT docstore.wait_for_view('v')});
is($node->safe_psql('copy', 'SELECT n, id FROM v ORDER BY n'), "1|x\n2|y", 'a copy of a database builds its views anew');
$node->safe_psql('copy', q{DELETE FROM c WHERE id = 'x'; SELECT docstore.wait_for_view('v')});
is($node->safe_psql('copy', 'SELECT n, id FROM v ORDER BY n'), '2|y', 'and keeps them up to date');
# (while the indexer is busy)
$node->safe_psql('another', q{INSERT INTO c SELECT 'more/' || g, '{"n": 3}' FROM generate_series(1, 20000) AS g});
$node->safe_psql('another', q{DROP EXTENSION docstore CASCADE});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'docstore indexer' AND datname = 'another'}), 'without the extension the indexer ends');
$node->safe_psql('another', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('c'); SELECT docstore.create_view('v', 'SELECT doc FROM docs', '{c}')});
ok($node->poll_query_until('another', q{SELECT state = 'ready' FROM docstore.view_status}), 'with it again there is one');
$node->safe_psql('postgres', 'DROP DATABASE another');
ok(1, 'a database with views can be dropped');

# ---- another encoding ----

$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
is($node->safe_psql('latin', q{
	SET client_encoding = 'UTF8';
	CREATE EXTENSION docstore;
	SELECT FROM docstore.create_collection('bär');
	INSERT INTO "bär" VALUES ('é', '{"größe": "ü"}'), ('o', '{"größe": "\u00f6"}'), ('x', '{"größe": "x"}');
	SELECT FROM docstore.create_view('ansicht', $$ SELECT doc->>'größe' AS "größe" FROM docs WHERE doc->>'größe' <> 'ü' $$, '{bär}', '"größe"');
	CREATE TABLE "kopïe" (id text PRIMARY KEY, "größe" text);
	SELECT FROM docstore.create_replication('kopïe', '{bär}',
		$$ [{"table": "public.\"kopïe\"", "key": "id", "select": "SELECT doc->>'größe' AS \"größe\" FROM docs WHERE id = 'é'"}] $$);
	SELECT FROM docstore.wait_for_view('ansicht');
	SELECT FROM docstore.wait_for_replication('kopïe');
	SELECT * FROM ansicht ORDER BY id;
	SELECT * FROM "kopïe"}) =~ s/^\n+//r, "ö|o\nx|x\né|ü", 'definitions in the encoding of the database');
$node->safe_psql('postgres', 'DROP DATABASE latin');

# ---- a map that never ends ----

# pg_stat_activity says which view it is; pausing it waits for the batch, which a cancel ends.
$node->safe_psql('postgres', q{SELECT docstore.create_view('endless',
	'WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 - n FROM r) SELECT n FROM r WHERE n = 2', '{a}')});
my $endless = q{backend_type = 'docstore indexer' AND query = 'indexing view "endless"'};
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $endless AND state = 'active'"), 'the view is named');
my ($pause_out, $pause_err) = ('', '');
my $pause = start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', q{SELECT docstore.pause_view('endless')} ], '>', \$pause_out, '2>', \$pause_err);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'pause_view.*endless'}), 'pausing it waits');
is($node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE $endless"), 't', 'its batch is cancelled');
ok($pause->finish, 'it is paused');
is($pause_err, '', 'without an error');
$node->safe_psql('postgres', q{SELECT docstore.wait_for_view('flat', '30 s')});
ok(1, 'the others go on');
$node->safe_psql('postgres', q{SELECT docstore.drop_view('endless')});

# Who waits for a view that is paused by an error is not turned away in the moment in which another definition takes its place.
$node->safe_psql('postgres', q{CREATE DOMAIN pods AS int});
$node->safe_psql('postgres', q{SELECT docstore.create_view('sized', 'SELECT 1::public.pods AS size FROM docs', '{a}', 'size')});
$node->safe_psql('postgres', q{SELECT docstore.wait_for_view('sized', '60 s')});
$node->safe_psql('postgres', q{DROP DOMAIN pods CASCADE});
$node->safe_psql('postgres', q{INSERT INTO a VALUES ('sized', '{}')});
ok($node->poll_query_until('postgres', q{SELECT state = 'paused' FROM docstore.view_status WHERE name = 'sized'}), 'a view without its type is paused');
my $busy = indexer_pid('postgres');
kill 'STOP', $busy;
$node->safe_psql('postgres', q{SELECT docstore.replace_view('sized', 'SELECT 1 AS size FROM docs', '{a}', 'size')});
my ($waits_out, $waits_err) = ('', '');
my $waits = start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', 'SELECT pg_backend_pid()', '-c', q{SET docstore.debug_stop = 'wait view'},
	'-c', q{SELECT docstore.wait_for_view('sized')} ], '>', \$waits_out, '2>', \$waits_err);
$waits->pump until $waits_out =~ /^\d+\n/;
my ($waiting) = $waits_out =~ /^(\d+)/;
usleep(10_000) until is_stopped($waiting);
kill 'CONT', $busy;
ok($node->poll_query_until('postgres', q{SELECT state = 'ready' FROM docstore.view_status WHERE name = 'sized'}), 'another definition mends it');
while ($waits->pumpable)
{
	kill 'CONT', $waiting if is_stopped($waiting);
	$waits->pump_nb;
	usleep(10_000);
}
ok($waits->finish, 'who waits for it is content');
is($waits_err, '', 'without an error');
$node->safe_psql('postgres', q{SELECT docstore.drop_view('sized')});
$node->safe_psql('postgres', q{DELETE FROM a WHERE id = 'sized'});

# ---- dump and restore ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump, '--include-foreign-data=docstore' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is($node->safe_psql('restored', q{SELECT docstore.wait_for_view('flat'); SELECT count(*) FROM flat}), "\n" . $node->safe_psql('postgres', 'SELECT count(*) FROM flat'),
	'a restored view builds itself');

# In any order: views before the collections that they read.
$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('postgres'), '-f', "$dump.custom", '--include-foreign-data=docstore' ], 'pg_dump, custom format');
$node->safe_psql('postgres', 'CREATE DATABASE jobs');
$node->command_ok([ 'pg_restore', '-e', '-j', '3', '-d', $node->connstr('jobs'), "$dump.custom" ], 'pg_restore with three jobs');
is($node->safe_psql('jobs', q{SELECT docstore.wait_for_view('mixed'); SELECT count(*) FROM mixed}), "\n" . $node->safe_psql('postgres', 'SELECT count(*) FROM mixed'),
	'views are there');
$node->safe_psql('postgres', 'CREATE DATABASE reverse');
my $list = $node->basedir . '/list';
run_log([ 'sh', '-c', "pg_restore -l $dump.custom > $list.all; grep -v 'TABLE DATA' $list.all > $list; grep 'TABLE DATA docstore views' $list.all >> $list; grep 'TABLE DATA' $list.all | grep -v 'TABLE DATA docstore views' >> $list" ]);
$node->command_ok([ 'pg_restore', '-e', '-L', $list, '-d', $node->connstr('reverse'), "$dump.custom" ], 'pg_restore with views first');
is($node->safe_psql('reverse', q{SELECT docstore.wait_for_view('mixed'); SELECT count(*) FROM mixed}), "\n" . $node->safe_psql('postgres', 'SELECT count(*) FROM mixed'),
	'views are there, too');

is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
