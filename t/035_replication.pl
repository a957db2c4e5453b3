# Replicated tables equal their selects run afresh, but for the documents listed as failed, and nothing arrives twice: after
# changes by several clients at once, rollbacks, refused rows, resets, redefinitions and pauses, with the replicator and the
# server killed in the midst of it.  DOCSTORE_REPLICATION_ROUNDS=110 went through by hand.  Many small histories, and kills at
# each step of a batch, are in t/033_replication_histories.pl.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Histories qw(background);
use Strike;

my $rounds = $ENV{DOCSTORE_REPLICATION_ROUNDS} || 10;
my $seed = $ENV{DOCSTORE_SEED} || time;
srand($seed);
note("DOCSTORE_SEED=$seed DOCSTORE_REPLICATION_ROUNDS=$rounds");

my $node = PostgreSQL::Test::Cluster->new('replication');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 200ms
max_prepared_transactions = 10
restart_after_crash = on
jit = off
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }

# ---- replications of every kind ----

# Each table: the collections, the columns that are compared, the select.
my %tables = (
	'r.parent' => [ 'a', 'id, n, note', q{SELECT (doc->>'n')::int AS n, doc->>'note' AS note FROM docs} ],
	'r.child' => [ 'a', 'id, line, tag', q{SELECT ord::int AS line, t AS tag FROM docs, jsonb_array_elements_text(doc->'tags') WITH ORDINALITY AS x(t, ord)} ],
	'r.merged' => [ 'a,b', 'id, source, tag, times, total',
		q{SELECT t AS tag, count(*)::int AS times, (doc->>'n')::numeric AS total FROM docs, jsonb_array_elements_text(doc->'tags') AS t GROUP BY t, doc} ],
);
sub definition
{
	my ($table, $more) = @_;
	my $select = $tables{$table}->[2];
	return qq({"table": "$table", "key": "id", "select": "$select"$more});
}
sub family { return '[' . definition('r.parent', '') . ', ' . definition('r.child', '') . ']' }
sub merged { return '[' . definition('r.merged', ', "mode": "merge", "collection": "source"') . ']' }

sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('a'), docstore.create_collection('b');
	CREATE SCHEMA r;
	CREATE TABLE r.parent (id text COLLATE "C" PRIMARY KEY, n int CONSTRAINT positive CHECK (n >= 0), note varchar(20),
		twice int GENERATED ALWAYS AS (n * 2) STORED, number bigint GENERATED ALWAYS AS IDENTITY);
	CREATE TABLE r.child (id text COLLATE "C" REFERENCES r.parent, line int, tag text, PRIMARY KEY (id, line));
	CREATE TABLE r.merged (id text COLLATE "C", source text COLLATE "C", tag text, times int, total numeric(8,1), PRIMARY KEY (id, source, tag))
		PARTITION BY HASH (id);
	CREATE TABLE r.merged0 PARTITION OF r.merged FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE r.merged1 PARTITION OF r.merged FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	CREATE TABLE r.log (id text COLLATE "C", etag bigint);
	CREATE INDEX ON r.log (id);
	-- What happens to rows is counted by triggers, too.
	CREATE TABLE r.ledger (target text, written bigint, deleted bigint);
	CREATE FUNCTION r.count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO r.ledger VALUES (TG_ARGV[0], CASE WHEN TG_OP = 'DELETE' THEN 0 ELSE 1 END, CASE WHEN TG_OP = 'DELETE' THEN 1 ELSE 0 END);
		RETURN NULL;
	END $$;
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.parent FOR EACH ROW EXECUTE FUNCTION r.count('r.parent');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.child FOR EACH ROW EXECUTE FUNCTION r.count('r.child');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.merged FOR EACH ROW EXECUTE FUNCTION r.count('r.merged');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.log FOR EACH ROW EXECUTE FUNCTION r.count('r.log');
});
# Some documents are there before.
sql(q{
	INSERT INTO a SELECT 'old' || g, jsonb_build_object('n', g % 50 - 1, 'tags', jsonb_build_array('x', 'y' || g % 3)) FROM generate_series(1, 5000) AS g;
	INSERT INTO b SELECT id, doc FROM a WHERE id LIKE '%7%';
});
sql('SELECT docstore.create_replication($r$family$r$, $r${a}$r$, $r$' . family() . '$r$)');
sql('SELECT docstore.create_replication($r$merged$r$, $r${a,b}$r$, $r$' . merged() . '$r$)');
sql(q{SELECT docstore.create_replication('log', '{a}', '[{"table": "r.log", "key": "id", "mode": "insert_only", "select": "SELECT etag FROM docs"}]')});

# ---- the oracle ----

my $refused = q{(doc->>'n')::int < 0};
sub compare
{
	my ($when, $all) = @_;
	sql("SELECT docstore.wait_for_replication('$_', '120 s')") for ('family', 'merged', 'log');
	for my $table (sort keys %tables)
	{
		my ($collections, $columns, $select) = @{ $tables{$table} };
		my $source = $collections eq 'a' ? '' : ', d.collection AS source';
		my $docs = join(' UNION ALL ', map { "SELECT id, doc, etag, '$_'::text COLLATE \"C\" AS collection, modified FROM $_" } split(/,/, $collections));
		my $fresh = "SELECT $columns FROM (SELECT d.id$source, m.* FROM ($docs) AS d, LATERAL (WITH docs AS (SELECT d.*) SELECT * FROM ($select) AS q) AS m) AS f";
		my $failed = $collections eq 'a' && !$all ? "WHERE id NOT IN (SELECT id FROM docstore.replication_errors WHERE replication = 'family')" : '';
		is(sql("SELECT (SELECT count(*) FROM (SELECT $columns FROM $table $failed EXCEPT ALL $fresh $failed) AS x) || ' too many, ' ||
				(SELECT count(*) FROM ($fresh $failed EXCEPT ALL SELECT $columns FROM $table $failed) AS y) || ' missing'"),
			'0 too many, 0 missing', "$when: $table");
	}
	is(sql(qq{SELECT count(*) FROM (SELECT id, etag FROM docstore.replication_errors) AS e FULL JOIN (SELECT id, etag FROM a WHERE $refused) AS d
			USING (id, etag) WHERE e.id IS NULL OR d.id IS NULL}), '0', "$when: refused documents are listed") unless $all;
	is(sql(q{SELECT (SELECT count(*) FROM a LEFT JOIN r.log USING (id, etag) WHERE r.log.id IS NULL) || ' missing, ' ||
			(SELECT count(*) FROM (SELECT FROM r.log GROUP BY id, etag HAVING count(*) > 1) AS x) || ' twice'}),
		'0 missing, 0 twice', "$when: each version is logged once");
	is(sql(q{SELECT string_agg(format('%s %s/%s %s/%s', target, l.written, c.written, l.deleted, c.deleted), ', ')
			FROM (SELECT target, sum(written) AS written, sum(deleted) AS deleted FROM r.ledger GROUP BY target) AS l
			FULL JOIN docstore.replication_count AS c USING (target) WHERE (l.written, l.deleted) IS DISTINCT FROM (c.written, c.deleted)}),
		'', "$when: triggers have counted what the status says");
}
compare('what was there before');

# ---- histories ----

sql(q{
	CREATE FUNCTION work() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		k text := 'k' || (random() * 150)::int;
		what int := (random() * 100)::int;
		d jsonb := jsonb_build_object('n', (random() * 40)::int - 3, 'note', left(md5(random()::text), (random() * 20)::int),
			'tags', (SELECT coalesce(jsonb_agg(left(md5(i || k), 1)), '[]') FROM generate_series(1, (random() * 4)::int) AS i));
	BEGIN
		IF what < 40 THEN PERFORM docstore.put('a', k, d);
		ELSIF what < 55 THEN PERFORM docstore.put('b', k, d);
		ELSIF what < 70 THEN UPDATE a SET doc = jsonb_set(doc, '{n}', d->'n') WHERE id = k;
		ELSIF what < 80 THEN DELETE FROM a WHERE id = k;
		ELSIF what < 85 THEN DELETE FROM b WHERE id = k;
		ELSIF what < 88 THEN DELETE FROM a WHERE id = k; INSERT INTO a VALUES (k, d);
		ELSIF what < 91 THEN INSERT INTO a SELECT 'n' || g || k, d FROM generate_series(1, 30) AS g ON CONFLICT DO NOTHING;
		ELSIF what < 94 THEN DELETE FROM a WHERE id LIKE 'n%' || k;
		ELSIF what < 96 THEN
			BEGIN
				DELETE FROM a WHERE id > k;
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		ELSIF what = 96 AND random() < 0.2 THEN TRUNCATE a;
		ELSIF what = 97 AND random() < 0.2 THEN TRUNCATE b;
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
\elif :end = 2
PREPARE TRANSACTION 'p:client_id';
\sleep 30 ms
COMMIT PREPARED 'p:client_id';
\else
COMMIT;
\endif
});
sub history { return background('pgbench', '-n', '-c', 4, '-T', $_[0], '--max-tries=1000', '-f', $script, $node->connstr('postgres')) }
sub replicator { return sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'docstore replicator'}) }

my @disturbances = (
	[ 'the replicator is terminated' => sub { my $pid = replicator(); sql("SELECT pg_terminate_backend($pid)") if $pid ne ''; } ],
	[ 'the replicator is killed' => sub { kill_and_recover($node, replicator()) } ],
	[ 'the server is killed' => sub { $node->stop('immediate'); $node->start; } ],
	[ 'the server restarts' => sub { $node->restart; } ],
	[ 'all is replicated anew' => sub { sql("SELECT docstore.reset_replication('$_')") for ('family', 'merged', 'log'); } ],
	[ 'what may come twice is replicated anew' => sub { sql("SELECT docstore.reset_replication('$_', remove_rows => false)") for ('family', 'merged'); } ],
	[ 'definitions are stored again' => sub {
		sql('SELECT docstore.replace_replication($r$family$r$, $r${a}$r$, $r$' . family() . '$r$)');
		sql('SELECT docstore.replace_replication($r$merged$r$, $r${b,a}$r$, $r$' . merged() . '$r$)'); } ],
	[ 'a collection leaves and comes back' => sub {
		sql('SELECT docstore.replace_replication($r$merged$r$, $r${a}$r$, $r$' . merged() . '$r$)');
		sql('SELECT docstore.replace_replication($r$merged$r$, $r${a,b}$r$, $r$' . merged() . '$r$)'); } ],
	[ 'a pause' => sub {
		sql("SELECT docstore.pause_replication('$_')") for ('family', 'merged');
		select(undef, undef, undef, 0.5);
		sql("SELECT docstore.resume_replication('$_')") for ('family', 'merged'); } ],
	[ 'failed documents are tried again' => sub { sql(q{SELECT docstore.retry_replication('family')}) } ],
);
for my $round (1 .. $rounds)
{
	my ($name, $disturb) = @{ $disturbances[ ($round - 1) % @disturbances ] };
	my $run = history(2);

	select(undef, undef, undef, 0.3 + rand(1));
	$disturb->();
	$run->{handle}->finish;
	if ($name =~ /killed|restarts/)
	{
		wait_for_store($node);
		for my $gid (split /\n/, sql('SELECT gid FROM pg_prepared_xacts'))
		{
			sql((rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
		}
	}
	compare("round $round, $name");
}

# ---- what was refused is mended ----

sql(q{
	SELECT docstore.put('a', 'refused' || g, '{"n": -1, "tags": ["x"]}') FROM generate_series(1, 20) AS g;
	SELECT docstore.put('a', 'long', '{"n": 1, "note": "a text that is much too long for the column"}')});
sql(q{SELECT docstore.wait_for_replication('family')});
is(sql(q{SELECT DISTINCT "table", sqlstate, message FROM docstore.replication_errors WHERE id LIKE 'refused%'}),
	'r.parent|23514|new row for relation "parent" violates check constraint "positive"', 'the reason is listed');
is(sql(q{SELECT sqlstate FROM docstore.replication_errors WHERE id = 'long'}), '22001', 'nothing is cut');
sql(q{ALTER TABLE r.parent DROP CONSTRAINT positive; SELECT docstore.put('a', 'long', '{"n": 1}'); SELECT docstore.retry_replication('family')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM docstore.replication_errors'), 'when the table takes them, they come');
compare('all of them', 1);
# Nothing to do: the replicator sleeps, and does not look again and again.
ok($node->poll_query_until('postgres', q{
	SELECT a.state = 'idle' AND a.state_change < clock_timestamp() - interval '1 s' FROM pg_stat_activity AS a
	WHERE backend_type = 'docstore replicator'}), 'with nothing to do it sleeps');
# ---- a select that never ends ----

# pg_stat_activity says whose it is; dropping that one waits for the batch, which a cancel ends.
sql(q{CREATE TABLE r.endless (id text PRIMARY KEY, n int); SELECT docstore.create_replication('endless', '{a}', '[{"table": "r.endless", "key": "id",
	"select": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 - n FROM r) SELECT n FROM r WHERE n = 2"}]')});
my $endless = q{backend_type = 'docstore replicator' AND query = 'replicating "endless"'};
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $endless AND state = 'active'"), 'the replication is named');
my $drop = background('psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', q{SELECT docstore.drop_replication('endless')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'drop_replication.*endless'}), 'dropping it waits');
is(sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE $endless"), 't', 'its batch is cancelled');
ok($drop->{handle}->finish, 'it is dropped');
compare('without it', 1);
$node->stop;
done_testing();
