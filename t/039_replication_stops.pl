# A numbered story for each step of a batch: the replicator stops there, and it, or the whole server, is killed.  Afterwards the
# tables are what their selects give of the documents, but for those that are listed as failed, and no change was made twice:
# triggers have counted what the history says.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Strike;

my $rounds = $ENV{DOCSTORE_STOP_ROUNDS} || 2;
my $seed = $ENV{DOCSTORE_SEED} || time;
srand($seed);
note("DOCSTORE_SEED=$seed DOCSTORE_STOP_ROUNDS=$rounds");

my $node = PostgreSQL::Test::Cluster->new('replication_stops');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
restart_after_crash = on
autovacuum = off
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
my %select = (
	orders => q{SELECT (doc->>'n')::int AS n FROM docs},
	lines => q{SELECT ord::int AS line, v::int AS v FROM docs, jsonb_array_elements_text(doc->'lines') WITH ORDINALITY AS x(v, ord)},
	merged => q{SELECT v::int AS v, count(*)::int AS times FROM docs, jsonb_array_elements_text(doc->'lines') AS x(v) GROUP BY 1},
);
sub table { my ($name, $more) = @_; return qq({"table": "r.$name", "key": "id", "select": "$select{$name}"$more}) }
sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE SCHEMA r;
	CREATE TABLE r.orders (id text COLLATE "C" PRIMARY KEY, n int CHECK (n <> 13));
	CREATE TABLE r.lines (id text COLLATE "C" REFERENCES r.orders, line int, v int, PRIMARY KEY (id, line));
	CREATE TABLE r.merged (id text COLLATE "C", v int, times int, PRIMARY KEY (id, v));
	CREATE TABLE r.log (id text COLLATE "C", etag bigint);
	CREATE TABLE r.ledger (target text, written bigint, deleted bigint);
	CREATE FUNCTION r.count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO r.ledger VALUES (TG_ARGV[0], (TG_OP <> 'DELETE')::int, (TG_OP = 'DELETE')::int);
		RETURN NULL;
	END $$;
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.orders FOR EACH ROW EXECUTE FUNCTION r.count('r.orders');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.lines FOR EACH ROW EXECUTE FUNCTION r.count('r.lines');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.merged FOR EACH ROW EXECUTE FUNCTION r.count('r.merged');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.log FOR EACH ROW EXECUTE FUNCTION r.count('r.log')});
sql('SELECT docstore.create_replication($r$all$r$, $r${docs}$r$, $r$[' .
	join(', ', table('orders', ''), table('lines', ''), table('merged', ', "mode": "merge"')) . ']$r$)');
sql(q{SELECT docstore.create_replication('log', '{docs}', '[{"table": "r.log", "key": "id", "mode": "insert_only", "select": "SELECT etag FROM docs"}]')});

# A few statements in a transaction each; some documents are refused, and mended later.
sub history
{
	my @statements;

	for (1 .. 3 + int(rand(8)))
	{
		my $k = 'k' . int(rand(40));
		my $n = rand() < 0.1 ? 13 : int(rand(10));
		my $lines = join(', ', map { int(rand(5)) } 1 .. int(rand(5)));
		my $doc = qq('{"n": $n, "lines": [$lines]}');
		my $what = int(rand(10));

		push @statements, $what < 5 ? "SELECT docstore.put('docs', '$k', $doc)"
		  : $what < 7 ? "DELETE FROM docs WHERE id = '$k'"
		  : $what < 8 ? "BEGIN; DELETE FROM docs WHERE id = '$k'; INSERT INTO docs VALUES ('$k', $doc); COMMIT"
		  : $what < 9 ? "BEGIN; UPDATE docs SET doc = $doc; ROLLBACK"
		  : "UPDATE docs SET doc = jsonb_set(doc, '{n}', '$n') WHERE id < '$k'";
	}
	sql(join('; ', @statements));
}

sub compare
{
	my ($when) = @_;
	sql("SELECT docstore.wait_for_replication('$_', '120 s')") for qw(all log);
	my $good = q{id NOT IN (SELECT id FROM docstore.replication_errors)};
	for my $table (sort keys %select)
	{
		my $fresh = "SELECT d.id, m.* FROM docs AS d, LATERAL (WITH docs AS (SELECT d.*) $select{$table}) AS m WHERE d.$good";
		is(sql("SELECT (SELECT count(*) FROM (SELECT * FROM r.$table WHERE $good EXCEPT ALL $fresh) AS x) || ' too many, ' ||
				(SELECT count(*) FROM ($fresh EXCEPT ALL SELECT * FROM r.$table WHERE $good) AS y) || ' missing'"),
			'0 too many, 0 missing', "$when: $table");
	}
	is(sql(q{SELECT count(*) FROM (SELECT id, etag FROM docstore.replication_errors) AS e FULL JOIN (SELECT id, etag FROM docs WHERE doc->>'n' = '13') AS d
			USING (id, etag) WHERE e.id IS NULL OR d.id IS NULL}), '0', "$when: what is refused is listed");
	is(sql(q{SELECT (SELECT count(*) FROM docs LEFT JOIN r.log USING (id, etag) WHERE r.log.id IS NULL) || ' missing, ' ||
			(SELECT count(*) FROM (SELECT FROM r.log GROUP BY id, etag HAVING count(*) > 1) AS x) || ' twice'}),
		'0 missing, 0 twice', "$when: each version is logged once");
	is(sql(q{SELECT count(*) FROM (SELECT target, sum(written) AS written, sum(deleted) AS deleted FROM r.ledger GROUP BY target) AS l
			FULL JOIN docstore.replication_count AS c USING (target) WHERE (l.written, l.deleted) IS DISTINCT FROM (c.written, c.deleted)}),
		'0', "$when: triggers have counted what the status says");
}
history() for 1 .. 5;
compare('at first');

sub replicator { return sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'docstore replicator'}) }
sub set_stop { sql("ALTER SYSTEM SET docstore.debug_stop = '$_[0]'"); sql('SELECT pg_reload_conf()') }

for my $round (1 .. $rounds)
{
	for my $place ('replicate read', 'replicate rows', 'replicate position', 'replicated', 'replicate emptied')
	{
		for my $victim ('the replicator', 'the server')
		{
			my $when = "round $round, $place, $victim";
			my $pid = '';

			set_stop($place);
			sql("SELECT docstore.reset_replication('$_')") for $place eq 'replicate emptied' ? qw(all log) : ();
			history() while sql(q{SELECT count(*) FROM docs}) eq '0';
			for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
			{
				$pid = replicator();
				last if $pid ne '' && is_stopped($pid);
				# The statements before may have changed nothing.
				sql(q{SELECT docstore.put('docs', 'touched', '{"n": 1, "lines": [1, 2]}')}) if $_ % 100 == 1;
				select undef, undef, undef, 0.01;
			}
			die "nobody stopped at \"$place\"" unless $pid ne '' && is_stopped($pid);
			# Writers go on meanwhile.
			history();
			set_stop('');
			if ($victim eq 'the server')
			{
				kill_server($node);
				start_again($node);
			}
			else { kill_process($pid) }
			wait_for_store($node);
			compare($when);
		}
	}
}
is(sql('SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
