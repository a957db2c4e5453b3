# Tables that replicate views equal those views: after random histories of the documents, with indexer, replicator and server killed
# in the midst of it, views replaced, replications reset; in a copy of the database, and in a dump that is restored.
# DOCSTORE_REPLICATION_ROUNDS=27 went through by hand.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Histories qw(background);
use Strike;

my $rounds = $ENV{DOCSTORE_REPLICATION_ROUNDS} || 9;
my $seed = $ENV{DOCSTORE_SEED} || time;
srand($seed);
note("DOCSTORE_SEED=$seed DOCSTORE_REPLICATION_ROUNDS=$rounds");

my $node = PostgreSQL::Test::Cluster->new('view_replication');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 200ms
docstore.view_block_rows = 8
max_worker_processes = 20
restart_after_crash = on
jit = off
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }

# ---- two views, in several forms, and their tables ----

my $lines = q{SELECT t AS tag, ord::int AS line, (doc->>'n')::numeric * %s AS n
	FROM docs, jsonb_array_elements_text(doc->'tags') WITH ORDINALITY AS x(t, ord) WHERE ord < %s};
my @lines = map { sprintf($lines, @$_) } ([ 1, 9 ], [ 1, 3 ], [ 7, 9 ]);
my $sums = q{SELECT t AS tag, 1::bigint AS times, (doc->>'n')::numeric AS total FROM docs, jsonb_array_elements_text(doc->'tags') AS t WHERE t > '%s'};
my @sums = map { sprintf($sums, $_) } ('', '5');
my $reduce = 'SELECT tag, sum(times)::bigint AS times, sum(total) AS total FROM results GROUP BY tag';
my @finalizes = map { "SELECT tag, times * $_ AS times, total FROM results" } (1, 2, 3);
# Locking two collections may meet a writer who holds the second one and wants the first.
sub replace_view
{
	for (;;)
	{
		my ($code, $out, $err) = $node->psql('postgres', $_[0]);
		last if $code == 0 && $err eq '';
		die $err unless $err =~ /deadlock detected/;
	}
}
sub replace_lines { replace_view("SELECT docstore.replace_view('lines', collections => '{a,b}', map => \$m\$$_[0]\$m\$, key => 'n DESC, tag')") }
sub replace_sums
{
	replace_view("SELECT docstore.replace_view('sums', collections => '{a}', map => \$m\$$_[0]\$m\$, reduce => '$reduce', finalize => '$_[1]')");
}

sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('a'), docstore.create_collection('b');
	CREATE SCHEMA r;
	CREATE TABLE r.sums (row_id text COLLATE "C" PRIMARY KEY, tag text, times bigint, total numeric);
	CREATE TABLE r.lines (row_id text COLLATE "C" PRIMARY KEY, id text, tag text, line int, n numeric);
	-- What happens to rows is counted by triggers, too.
	CREATE TABLE r.ledger (target text, written bigint, deleted bigint);
	CREATE FUNCTION r.count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO r.ledger VALUES (TG_ARGV[0], CASE WHEN TG_OP = 'DELETE' THEN 0 ELSE 1 END, CASE WHEN TG_OP = 'DELETE' THEN 1 ELSE 0 END);
		RETURN NULL;
	END $$;
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.sums FOR EACH ROW EXECUTE FUNCTION r.count('r.sums');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.lines FOR EACH ROW EXECUTE FUNCTION r.count('r.lines');
	INSERT INTO a SELECT 'old' || g, jsonb_build_object('n', g % 50, 'tags', jsonb_build_array('x', 'y' || g % 300)) FROM generate_series(1, 3000) AS g;
	INSERT INTO b SELECT id, doc FROM a WHERE id LIKE '%7%';
});
sql("SELECT docstore.create_view('lines', collections => '{a,b}', map => \$m\$$lines[0]\$m\$, key => 'n DESC, tag')");
sql("SELECT docstore.create_view('sums', collections => '{a}', map => \$m\$$sums[0]\$m\$, reduce => '$reduce', finalize => '$finalizes[0]')");
# While they are built.
sql(q{
	SELECT docstore.create_view_replication('sums', 'sums', '[{"table": "r.sums", "key": "row_id", "mode": "merge",
		"select": "SELECT doc->>''tag'' AS tag, (doc->>''times'')::bigint AS times, (doc->>''total'')::numeric AS total FROM docs"}]');
	SELECT docstore.create_view_replication('lines', 'lines', '[{"table": "r.lines", "key": "row_id",
		"select": "SELECT q.* FROM docs, jsonb_to_record(doc) AS q (id text, tag text, line int, n numeric)"}]');
});

# ---- the oracle ----

my %columns = ('sums' => 'tag, times, total', 'lines' => 'id, tag, line, n');
sub equal
{
	my ($database, $when) = @_;
	for my $view (sort keys %columns)
	{
		$node->safe_psql($database, "SELECT docstore.wait_for_replication('$view', '100 s')");
		is($node->safe_psql($database, "SELECT (SELECT count(*) FROM (SELECT $columns{$view} FROM r.$view EXCEPT ALL SELECT $columns{$view} FROM $view) AS x) || ' too many, ' ||
				(SELECT count(*) FROM (SELECT $columns{$view} FROM $view EXCEPT ALL SELECT $columns{$view} FROM r.$view) AS y) || ' missing'"),
			'0 too many, 0 missing', "$when: $view");
	}
}
sub compare
{
	my ($when) = @_;
	equal('postgres', $when);
	is(sql(q{SELECT string_agg(format('%s %s/%s %s/%s', target, l.written, c.written, l.deleted, c.deleted), ', ')
			FROM (SELECT target, sum(written) AS written, sum(deleted) AS deleted FROM r.ledger GROUP BY target) AS l
			FULL JOIN docstore.replication_count AS c USING (target) WHERE (l.written, l.deleted) IS DISTINCT FROM (c.written, c.deleted)}),
		'', "$when: triggers have counted what the status says");
	is(sql('SELECT count(*) FROM docstore.replication_errors'), '0', "$when: nothing failed");
}
compare('what was there before');
cmp_ok(sql('SELECT count(*) FROM sums'), '>', 100, 'there are groups');

# Of many groups only those that change are written.
my $written = q{SELECT written + deleted FROM docstore.replication_count WHERE replication = 'sums'};
my $before = sql($written);
sql(q{SELECT docstore.put('a', 'old1', '{"n": 1, "tags": ["y7", "new"]}')});
compare('one document');
is(sql($written) - $before, 4, 'four groups changed');

# ---- histories ----

sql(q{
	CREATE FUNCTION work() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		k text := 'k' || (random() * 150)::int;
		what int := (random() * 100)::int;
		d jsonb := jsonb_build_object('n', (random() * 5)::int,
			'tags', (SELECT coalesce(jsonb_agg(left(md5(i || k || random()), 1)), '[]') FROM generate_series(1, (random() * 4)::int) AS i));
	BEGIN
		IF what < 40 THEN PERFORM docstore.put('a', k, d);
		ELSIF what < 55 THEN PERFORM docstore.put('b', k, d);
		ELSIF what < 70 THEN UPDATE a SET doc = jsonb_set(doc, '{n}', d->'n') WHERE id = k;
		ELSIF what < 80 THEN DELETE FROM a WHERE id = k;
		ELSIF what < 85 THEN DELETE FROM b WHERE id = k;
		ELSIF what < 88 THEN DELETE FROM a WHERE id = k; INSERT INTO a VALUES (k, d);
		ELSIF what < 91 THEN INSERT INTO a SELECT 'n' || g || k, d FROM generate_series(1, 30) AS g ON CONFLICT DO NOTHING;
		ELSIF what < 94 THEN DELETE FROM a WHERE id LIKE 'n%' || k;
		ELSIF what = 96 AND random() < 0.1 THEN TRUNCATE a;
		ELSIF what = 97 AND random() < 0.1 THEN TRUNCATE b;
		END IF;
	END $$;
});
my $script = $node->basedir . '/history.sql';
append_to_file($script, q{
\set end random(1, 20)
BEGIN;
SELECT work();
SELECT work();
\if :end = 1
ROLLBACK;
\else
COMMIT;
\endif
\sleep 2 ms
});
sub history { return background('pgbench', '-n', '-c', 3, '-T', $_[0], '--max-tries=1000', '-f', $script, $node->connstr('postgres')) }
sub worker { return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'docstore $_[0]' AND datname = 'postgres'") }
sub one_of { return $_[ int(rand(@_)) ] }

my @disturbances = (
	[ 'the indexer is killed' => sub { kill_and_recover($node, worker('indexer')) } ],
	[ 'a view is replaced, and the replicator killed' => sub { replace_lines($lines[1]); kill_and_recover($node, worker('replicator')); } ],
	[ 'another finalize, and the server is killed' => sub { replace_sums($sums[0], $finalizes[1]); $node->stop('immediate'); $node->start; } ],
	[ 'views are replaced, one of them twice' => sub { replace_lines($lines[2]); replace_sums($sums[1], $finalizes[1]); replace_lines($lines[0]); } ],
	[ 'the server restarts' => sub { $node->restart } ],
	[ 'all is replicated anew' => sub { sql("SELECT docstore.reset_replication('$_')") for ('lines', 'sums'); } ],
	[ 'a pause, in which a view is replaced' => sub {
		sql("SELECT docstore.pause_replication('$_')") for ('lines', 'sums');
		replace_sums(one_of(@sums), $finalizes[0]);
		sql("SELECT docstore.wait_for_view('sums', '100 s')");
		sql("SELECT docstore.resume_replication('$_')") for ('lines', 'sums'); } ],
	[ 'the replicator is killed' => sub { kill_and_recover($node, worker('replicator')) } ],
	[ 'anything' => sub {
		replace_lines(one_of(@lines));
		replace_sums(one_of(@sums), one_of(@finalizes));
		kill_and_recover($node, worker(one_of('indexer', 'replicator'))) for 1 .. 2; } ],
);
for my $round (1 .. $rounds)
{
	my ($name, $disturb) = @{ $disturbances[ ($round - 1) % @disturbances ] };
	my $run = history(2);

	select(undef, undef, undef, 0.3 + rand(1));
	$disturb->();
	$run->{handle}->finish;
	wait_for_store($node) if $name =~ /killed|restarts|anything/;
	compare("round $round, $name");
}

# ---- copies of the database ----

sql('SELECT docstore.put(\'a\', \'kept\' || g, \'{"n": 1, "tags": ["kept"]}\') FROM generate_series(1, 5) AS g');
compare('before the copies');
my $dump = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '--include-foreign-data=docstore', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('template1', 'CREATE DATABASE restored');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restored');
is($node->safe_psql('restored', q{SELECT string_agg(state, ' ') FROM docstore.replication_status}), 'paused paused', 'what is restored is paused');
$node->safe_psql('restored', q{SELECT docstore.put('a', 'more', '{"n": 2, "tags": ["kept"]}'); SELECT docstore.resume_replication(name) FROM docstore.replications});
equal('restored', 'restored');

$node->safe_psql('template1', 'CREATE DATABASE copied TEMPLATE restored');
$node->safe_psql('copied', q{DELETE FROM a WHERE id LIKE 'old1%'});
equal('copied', 'copied');
$node->stop;
done_testing();
