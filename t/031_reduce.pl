# Views with a reduce equal map and reduce run afresh, after random histories of changes, rollbacks, crashes and restarts, with
# blocks so small that trees are deep; a build that was broken off while it reduced goes on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start);
use FindBin;
use lib "$FindBin::RealBin/lib";
use Histories;
use Strike;

my $rounds = $ENV{DOCSTORE_VIEW_ROUNDS} || 100;
my $seed = $ENV{DOCSTORE_SEED} || time;
srand($seed);
note("DOCSTORE_SEED=$seed DOCSTORE_VIEW_ROUNDS=$rounds");

my $node = PostgreSQL::Test::Cluster->new('reduce');
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

# collections, key, block_rows, map, reduce, finalize
my %views = (
	tags => [ '{a}', '', 3, q{SELECT t, 1::bigint AS n, (doc->>'n')::bigint AS most FROM docs, jsonb_array_elements_text(doc->'tags') AS t},
		q{SELECT t, sum(n)::bigint AS n, max(most) AS most FROM results GROUP BY t}, '' ],
	pairs => [ '{a,b}', 'k DESC', 2, q{SELECT doc->>'k' AS k, collection AS c, 1::bigint AS n, (doc->>'n')::numeric AS s FROM docs},
		q{SELECT k, c, sum(n)::bigint AS n, sum(s) AS s FROM results GROUP BY k, c}, q{SELECT k, c, n, round(s / n, 3) AS average FROM results} ],
	tens => [ '{b}', '', 4, q{SELECT (doc->>'n')::int AS ten, 1::bigint AS n, etag AS newest FROM docs WHERE doc ? 'n'},
		q{SELECT ten / 10 * 10 AS ten, sum(n)::bigint AS n, max(newest) AS newest FROM results GROUP BY 1}, '' ],
	total => [ '{a,b}', '', 2, q{SELECT 1::bigint AS n, (doc->>'n')::bigint AS s, doc ? 'k' AS every FROM docs},
		q{SELECT sum(n)::bigint AS n, sum(s)::bigint AS s, bool_and(every) AS every FROM results}, '' ],
);

sub some
{
	my ($share, @of) = @_;
	return grep { rand() < $share } @of;
}

sub one_of
{
	return $_[ int(rand(@_)) ];
}

# A view by chance: groups, aggregates, rows, conditions, order, block.
sub random_view
{
	my $collections = one_of('{a}', '{b}', '{a,b}');
	my $tags = rand() < 0.4;
	my %groups = (k => q{doc->>'k'}, n => q{(doc->>'n')::int}, c => 'collection', h => q{doc ? 'm'}, len => q{(length(doc->>'pad') / 50)::smallint}, num => q{(doc->>'n')::numeric / 4});
	$groups{t} = 't' if $tags;
	my %aggregates = (
		cnt => [ '1::bigint', 'sum(cnt)::bigint' ], s => [ q{(doc->>'n')::numeric}, 'sum(s)' ], lo => [ q{doc->>'k'}, 'min(lo)' ],
		hi => [ q{(doc->>'n')::float8}, 'max(hi)' ], al => [ q{doc ? 'k'}, 'bool_and(al)' ], an => [ q{doc ? 'n'}, 'bool_or(an)' ],
		bits => [ q{(doc->>'n')::int}, 'bit_or(bits)' ], co => [ q{(doc->>'n')::bigint}, 'coalesce(sum(co), 0)::bigint' ], e => [ 'etag', 'max(e)' ],
		# Sums that are changed by differences: nulls, decimals that come and go, what is no number.
		s2 => [ q{((doc->>'n')::int % 7)::smallint}, 'sum(s2)::smallint' ], s4 => [ q{(doc->>'n')::int - 50}, 'sum(s4)::int' ],
		dec => [ q{round(nullif((doc->>'n')::numeric, 50) / 7, (doc->>'n')::int / 9 % 5)}, 'sum(dec)' ],
		nan => [ q{CASE WHEN (doc->>'n')::int IN (7, 8, 9) THEN (ARRAY['NaN', 'Infinity', '-Infinity'])[(doc->>'n')::int - 6]::numeric ELSE (doc->>'n')::numeric / 10 END}, 'sum(nan)' ]);
	my @groups = some(0.35, sort keys %groups);
	my @aggregates = some(0.4, rand() < 0.5 ? sort keys %aggregates : qw(cnt s s2 s4 dec nan));
	@aggregates = ('cnt') unless @aggregates;
	my $from = $tags ? q{docs, jsonb_array_elements_text(doc->'tags') AS t} : 'docs';
	my $where = one_of('', q{ WHERE doc ? 'k'}, q{ WHERE (doc->>'n')::int > 40});
	my $tens = rand() < 0.3;
	my $map = 'SELECT ' . join(', ', (map { "$groups{$_} AS $_" } @groups), map { "$aggregates{$_}[0] AS $_" } @aggregates) . " FROM $from$where";
	my $reduce = 'SELECT ' . join(', ', (map { $_ eq 'n' && $tens ? 'n / 10 * 10 AS n' : $_ } @groups), map { "$aggregates{$_}[1] AS $_" } @aggregates) . ' FROM results';
	$reduce .= ' GROUP BY ' . join(', ', 1 .. @groups) if @groups;
	my $finalize = rand() < 0.3 ? 'SELECT ' . join(', ', @groups, map { "$_ IS NULL AS no_$_, $_" } @aggregates) . ' FROM results' : '';
	my $key = join(', ', map { $_ . one_of('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST') } some(0.5, @groups));
	return [ $collections, $key, 2 + int(rand(4)), $map, $reduce, $finalize ];
}
$views{"random$_"} = random_view() for 1 .. 3;

sub documents
{
	my ($collections) = @_;
	$collections =~ s/[{}]//g;
	return join(' UNION ALL ', map { "SELECT id, doc, etag, '$_'::text COLLATE \"C\" AS collection, modified FROM $_" } split(/,/, $collections));
}

sub fresh
{
	my ($view) = @_;
	my ($collections, undef, undef, $map, $reduce, $finalize) = @{ $views{$view} };
	my $docs = documents($collections);
	my $rows = "SELECT m.* FROM ($docs) AS d, LATERAL (WITH docs AS (SELECT d.*) SELECT * FROM ($map) AS q) AS m";
	my $reduced = "WITH results AS ($rows) $reduce";
	return "SELECT * FROM ($reduced) AS r" if $finalize eq '';
	return "SELECT * FROM (WITH results AS ($reduced) $finalize) AS f";
}

sub compare
{
	my ($view, $when) = @_;
	# As text: 1.0 and 1.00 are equal, but not the same.
	my $fresh = 'SELECT r::text FROM (' . fresh($view) . ') AS r';
	my $stored = "SELECT r::text FROM $view AS r";
	my $wrong = $node->safe_psql('postgres', qq{
		SELECT docstore.wait_for_view('$view', '60 s');
		SELECT (SELECT count(*) FROM ($stored EXCEPT ALL $fresh) AS x) || ' too many, ' ||
			(SELECT count(*) FROM ($fresh EXCEPT ALL $stored) AS y) || ' missing, ' ||
			((SELECT count(*) FROM $view) - (SELECT groups FROM docstore.view_status WHERE name = '$view')) || ' miscounted' });
	$wrong =~ s/^\n//;
	is($wrong, '0 too many, 0 missing, 0 miscounted', "$when: $view");
}

sub arguments
{
	my ($view) = @_;
	my ($collections, $key, $block, $map, $reduce, $finalize) = @{ $views{$view} };
	return "'$view', \$q\$$map\$q\$, '$collections', nullif('$key', ''), \$q\$$reduce\$q\$, nullif(\$q\$$finalize\$q\$, '')";
}

sub create
{
	my ($view, $function) = @_;
	my $block = $views{$view}[2];
	$node->safe_psql('postgres', "SET docstore.view_block_rows = $block; SELECT docstore.$function(" . arguments($view) . ')');
}

# ---- histories ----

$node->safe_psql('postgres', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('a'); SELECT docstore.create_collection('b')});
$node->safe_psql('postgres', history(40));
create($_, 'create_view') for sort keys %views;
compare($_, 'built') for sort keys %views;

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
		$node->safe_psql('postgres', q{SELECT docstore.drop_view('tags')});
		create('tags', 'create_view');
	}
	elsif ($event =~ /^replace/)
	{
		# Other blocks, and another map.
		$views{tags}[2] = 2 + int(rand(5));
		$views{tags}[3] =~ s/1::bigint AS n|2::bigint AS n/(1 + $round % 2) . '::bigint AS n'/e;
		create('tags', 'replace_view');
		if ($event eq 'replace-and-crash')
		{
			select(undef, undef, undef, rand(0.2));
			$node->stop('immediate');
			$node->start;
		}
	}
	$session->finish;
	my $again = 'random' . (1 + int(rand(3)));
	wait_for_store($node);
	$node->safe_psql('postgres', "SELECT docstore.drop_view('$again')");
	$views{$again} = random_view();
	note("$again: " . arguments($again));
	create($again, 'create_view');
	wait_for_store($node);
	compare($_, "round $round, $event") for sort keys %views;
}

# ---- a build that is broken off while it scans and while it reduces ----

my $n = 60000;
$node->safe_psql('postgres', qq{
	SELECT docstore.create_collection('big');
	INSERT INTO big (id, doc) SELECT 'big/' || g, jsonb_build_object('n', g, 'k', CASE WHEN g % 3 = 0 THEN 'k' ELSE 'k' || g % 5000 END) FROM generate_series(1, $n) AS g;});
$views{slow} = [ '{big}', '', 8, q{SELECT doc->>'k' AS k, 1::bigint AS n, (doc->>'n')::bigint AS s FROM docs},
	q{SELECT k, sum(n)::bigint AS n, sum(s)::bigint AS s FROM results GROUP BY k}, '' ];
create('slow', 'create_view');
my $killed = 0;
for my $progress ('documents > 10000', 'documents >= 60000', 'groups > 1000')
{
	my $row = "FROM docstore.view_progress p JOIN docstore.view_index USING (storage_id) WHERE view = 'slow'";
	next unless $node->poll_query_until('postgres', "SELECT built OR $progress $row");
	is($node->safe_psql('postgres', "SELECT count(*) $row AND built AND NOT reduced"), '0', "$progress: not readable before all is reduced");
	last if $node->safe_psql('postgres', "SELECT built $row") eq 't';
	$killed++;
	if ($killed % 2)
	{
		kill_and_recover($node, indexer_pid('postgres'));
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	wait_for_store($node);
	$node->safe_psql('postgres', qq{UPDATE big SET doc = '{"n": -$killed, "k": "new"}' WHERE id = 'big/$killed'; DELETE FROM big WHERE id = 'big/1$killed'});
}
cmp_ok($killed, '>', 0, "the build was broken off $killed times");
compare('slow', 'built');

# ---- dump and restore ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump, '--include-foreign-data=docstore' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is($node->safe_psql('restored', q{SELECT docstore.wait_for_view('slow'); SELECT count(*), sum(n), sum(s) FROM slow}),
	"\n" . $node->safe_psql('postgres', 'SELECT count(*), sum(n), sum(s) FROM slow'), 'a restored view builds itself');

is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
