# Random histories of documents that are replicated, hundreds of them: puts, changes, deletions, re-inserts, rollbacks, prepared
# transactions, truncations, other definitions, resets, pauses, and rows that tables refuse until they are mended.  In the midst of
# each the replicator is killed, alone or with the whole server: at a step of a batch where it was stopped, or anywhere.
#
# Afterwards each table is what its select gives of the documents, but for exactly those that are listed as failed, whose rows are
# whole and of an older version.  Triggers keep a ledger: every row that was ever written is of a version that was committed, no
# version was written twice, what was written less what was deleted is what is there, and the status counts the same.  At any time
# in between the tables are as of the position (r.at_position).
#
# Histories run eight at a time, each in its own database with its own replicator, and are struck together.  How many went through
# by hand: bench/replication-notes.md.
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

my $rounds = $ENV{DOCSTORE_REPLICATION_ROUNDS} || 26;
my $seed = $ENV{DOCSTORE_SEED} || time;
srand($seed);
note("DOCSTORE_SEED=$seed DOCSTORE_REPLICATION_ROUNDS=$rounds");

my @databases = map { "h$_" } 1 .. 8;
# In these a view is replicated, too.
my @with_view = ('h4', 'h8');

my $node = PostgreSQL::Test::Cluster->new('histories');
$node->init(allows_streaming => 1);
# The WAL writer is slow, so that the WAL of asynchronous commits, which the replicator's are, is lost.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 200ms
max_connections = 50
max_worker_processes = 24
max_prepared_transactions = 20
wal_writer_delay = 10s
wal_writer_flush_after = 0
wal_buffers = 16MB
restart_after_crash = on
autovacuum = off
log_statement = none
jit = off
include_if_exists = 'stop.conf'
});
$node->start;

# ---- what is replicated ----

sub one_of { return $_[ int(rand(@_)) ] }

# The select says which definition a row is of.
sub family
{
	my ($def) = @_;
	return qq([{"table": "r.parent", "key": "id", "select":
			"SELECT $def AS def, etag, (doc->>'n')::int * $def AS n, (doc->>'m')::int AS m FROM docs"},
		{"table": "r.child", "key": "id", "select":
			"SELECT ord::int AS line, etag, t AS tag FROM docs, jsonb_array_elements_text(doc->'tags') WITH ORDINALITY AS x(t, ord)"}]);
}
my $merged = q{SELECT t AS tag, count(*)::int AS times, (doc->>'n')::numeric AS total FROM docs, jsonb_array_elements_text(doc->'tags') AS t GROUP BY t, doc};
my $merged_table = qq([{"table": "r.merged", "key": "id", "collection": "source", "mode": "merge", "select": "$merged"}]);
my $log_table = q([{"table": "r.log", "key": "id", "collection": "source", "mode": "insert_only", "select": "SELECT etag FROM docs"}]);
my $sums = q{SELECT coalesce(doc->>'k', '') AS k, 1::bigint AS times, (doc->>'n')::bigint AS total FROM docs};

sub setup
{
	my $family = family(1);
	return q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('a'), docstore.create_collection('b'), docstore.create_collection('marks');
	CREATE SCHEMA r;
	CREATE TABLE r.parent (id text COLLATE "C" PRIMARY KEY, def int, etag bigint, n int, m int, twice int GENERATED ALWAYS AS (m * 2) STORED,
		number bigint GENERATED ALWAYS AS IDENTITY, CONSTRAINT small CHECK (n < 85 * def));
	CREATE TABLE r.child (id text COLLATE "C" REFERENCES r.parent, line int, etag bigint, tag text, PRIMARY KEY (id, line));
	CREATE TABLE r.merged (id text COLLATE "C", source text COLLATE "C", tag text, times int, total numeric(8,1), PRIMARY KEY (id, source, tag))
		PARTITION BY HASH (id);
	CREATE TABLE r.merged0 PARTITION OF r.merged FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE r.merged1 PARTITION OF r.merged FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	CREATE TABLE r.log (id text COLLATE "C", source text COLLATE "C", etag bigint);
	CREATE TABLE r.sums (row_id text COLLATE "C" PRIMARY KEY, k text, times bigint, total bigint);

	-- Versions that were committed: each is noted by the transaction that writes it.
	CREATE TABLE r.version (collection text COLLATE "C", id text COLLATE "C", etag bigint, doc jsonb, PRIMARY KEY (etag));
	CREATE FUNCTION r.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO r.version VALUES (TG_TABLE_NAME, NEW.id, NEW.etag, NEW.doc);
		RETURN NULL;
	END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE ON a FOR EACH ROW EXECUTE FUNCTION r.note();
	CREATE TRIGGER note AFTER INSERT OR UPDATE ON b FOR EACH ROW EXECUTE FUNCTION r.note();
	-- Deletions: another document's etag is greater than theirs.
	CREATE TABLE r.gone (id text COLLATE "C", etag bigint);
	CREATE FUNCTION r.note_gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO r.gone VALUES (OLD.id, docstore.put('marks', pg_backend_pid()::text, '{}'));
		RETURN NULL;
	END $$;
	CREATE TRIGGER note_gone AFTER DELETE ON a FOR EACH ROW EXECUTE FUNCTION r.note_gone();
	CREATE FUNCTION r.put(collection text, id text, doc jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO r.version SELECT $1, $2, docstore.put($1, $2, $3), $3;
	$$;
	-- A collection was emptied, and nobody compared all of it since.
	CREATE TABLE r.truncated (collection text);

	-- The ledger.  A reset begins another epoch, in which versions are written once more.
	CREATE TABLE r.epoch (replication text, epoch int);
	CREATE TABLE r.ledger (target text, op text, source text, id text COLLATE "C", part text, etag bigint, epoch int);
	CREATE FUNCTION r.count() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		o jsonb := to_jsonb(OLD);
		n jsonb := to_jsonb(NEW);
		x jsonb := coalesce(n, o);
	BEGIN
		INSERT INTO r.ledger SELECT TG_ARGV[0], CASE WHEN n = o THEN 'SAME' ELSE TG_OP END, coalesce(x->>'source', 'a'), x->>'id',
			coalesce(x->>'line', x->>'tag', ''), (x->>'etag')::bigint, (SELECT count(*) FROM r.epoch WHERE replication = TG_ARGV[1]);
		RETURN NULL;
	END $$;
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.parent FOR EACH ROW EXECUTE FUNCTION r.count('r.parent', 'family');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.child FOR EACH ROW EXECUTE FUNCTION r.count('r.child', 'family');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.merged FOR EACH ROW EXECUTE FUNCTION r.count('r.merged', 'merged');
	CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON r.log FOR EACH ROW EXECUTE FUNCTION r.count('r.log', 'log');
	} . qq{
	SELECT docstore.create_replication('family', '{a}', \$r\$$family\$r\$);
	SELECT docstore.create_replication('merged', '{a,b}', \$r\$$merged_table\$r\$);
	SELECT docstore.create_replication('log', '{a,b}', \$r\$$log_table\$r\$);
	} . oracle();
}

sub view
{
	return qq{
	SELECT docstore.create_view('sums', collections => '{a,b}', map => \$m\$$sums\$m\$,
		reduce => 'SELECT k, sum(times)::bigint AS times, sum(total)::bigint AS total FROM results GROUP BY k');
	SELECT docstore.create_view_replication('sums', 'sums', '[{"table": "r.sums", "key": "row_id", "mode": "merge",
		"select": "SELECT doc->>''k'' AS k, (doc->>''times'')::bigint AS times, (doc->>''total'')::bigint AS total FROM docs"}]');
	};
}

# ---- the oracle ----

sub oracle
{
	return q{
	CREATE VIEW r.failed AS SELECT id, etag FROM docstore.replication_errors WHERE replication = 'family';
	CREATE FUNCTION r.bad(doc jsonb) RETURNS boolean LANGUAGE sql AS $$ SELECT coalesce($1->>'m' !~ '^[0-9]+$', false) $$;

	-- To be called in a transaction of REPEATABLE READ, at any time.  '' if all is right.
	CREATE FUNCTION r.at_position() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		p bigint := (SELECT c.position FROM docstore.consumer AS c JOIN docstore.replication_state AS s ON s.replication = c.name
			WHERE c.kind = 'r' AND c.name = 'family' AND NOT s.emptying AND s.to_scan = '{}' AND c.position >= s.scan_to);
	BEGIN
		IF p IS NULL OR EXISTS (SELECT FROM r.truncated) THEN RETURN ''; END IF;
		RETURN concat_ws(', ',
			(SELECT 'newer than the position ' || p || ': ' || string_agg(format('%s %s', id, etag), ' ') FROM r.parent WHERE etag > p),
			(SELECT 'not at the position ' || p || ': ' || string_agg(format('%s %s %s', a.id, a.etag, t.etag), ' ')
				FROM a LEFT JOIN r.parent AS t USING (id)
				WHERE a.etag <= p AND t.etag IS DISTINCT FROM a.etag AND id NOT IN (SELECT id FROM r.failed)),
			(SELECT 'failed behind the position ' || p || ': ' || string_agg(format('%s %s', id, etag), ' ') FROM r.failed WHERE etag > p),
			(SELECT 'deleted before the position ' || p || ': ' || string_agg(format('%s %s', id, etag), ' ') FROM r.parent AS t
				WHERE id NOT IN (SELECT id FROM a) AND id NOT IN (SELECT id FROM r.failed)
					AND (SELECT max(etag) FROM r.gone AS g WHERE g.id = t.id) BETWEEN t.etag AND p));
	END $$;

	-- When everything has been replicated.
	CREATE FUNCTION r.wrong() RETURNS SETOF text LANGUAGE plpgsql AS $$
	DECLARE
		source text;
	BEGIN
		-- The family: versions, then rows of each version.
		RETURN QUERY SELECT format('r.parent has %s of etag %s, not %s', coalesce(d.id, t.id), t.etag, d.etag)
			FROM a AS d FULL JOIN r.parent AS t USING (id)
			WHERE d.etag IS DISTINCT FROM t.etag AND coalesce(d.id, t.id) NOT IN (SELECT id FROM r.failed);
		RETURN QUERY SELECT format('r.parent has a wrong row: %s', t)
			FROM r.parent AS t LEFT JOIN r.version AS v ON v.id = t.id AND v.etag = t.etag AND v.collection = 'a'
			WHERE v.id IS NULL OR r.bad(v.doc) OR ((v.doc->>'n')::int * t.def, (v.doc->>'m')::int, t.m * 2) IS DISTINCT FROM (t.n, t.m, t.twice);
		RETURN QUERY SELECT format('r.child has %s, its document gives %s', t, f)
			FROM r.child AS t FULL JOIN (SELECT v.id, x.line::int, v.etag, x.tag FROM r.parent JOIN r.version AS v USING (id, etag),
				jsonb_array_elements_text(v.doc->'tags') WITH ORDINALITY AS x(tag, line)) AS f USING (id, line)
			WHERE (t.etag, t.tag) IS DISTINCT FROM (f.etag, f.tag);
		-- Listed is what cannot be written, in its last version.
		RETURN QUERY SELECT format('%s is listed as failed', f) FROM r.failed AS f LEFT JOIN a AS d USING (id, etag)
			WHERE d.id IS NULL OR NOT (r.bad(d.doc) OR (d.doc->>'n')::int >= 85 AND EXISTS (SELECT FROM pg_constraint WHERE conname = 'small'));
		RETURN QUERY SELECT format('%s is not listed as failed', d) FROM a AS d WHERE r.bad(d.doc) AND id NOT IN (SELECT id FROM r.failed);

		RETURN QUERY SELECT format('r.merged has %s, documents give %s', t, f)
			FROM r.merged AS t FULL JOIN (SELECT d.id, d.source, m.* FROM (SELECT *, 'a' AS source FROM a UNION ALL SELECT *, 'b' FROM b) AS d,
				LATERAL (SELECT x AS tag, count(*)::int AS times, (d.doc->>'n')::numeric AS total FROM jsonb_array_elements_text(d.doc->'tags') AS x GROUP BY x) AS m) AS f
				USING (id, source, tag) WHERE (t.times, t.total) IS DISTINCT FROM (f.times, f.total);
		RETURN QUERY SELECT format('r.log lacks %s', d) FROM (SELECT 'a' AS source, id, etag FROM a UNION ALL SELECT 'b', id, etag FROM b) AS d
			WHERE NOT EXISTS (SELECT FROM r.log AS l WHERE (l.source, l.id, l.etag) = (d.source, d.id, d.etag));
		RETURN QUERY SELECT format('%s failed', e) FROM docstore.replication_errors AS e WHERE replication <> 'family';
		IF to_regclass('sums') IS NOT NULL THEN
			RETURN QUERY SELECT format('r.sums has %s, documents give %s', t, f)
				FROM r.sums AS t FULL JOIN (SELECT coalesce(doc->>'k', '') AS k, count(*) AS times, sum((doc->>'n')::bigint)::bigint AS total
					FROM (SELECT doc FROM a UNION ALL SELECT doc FROM b) AS d GROUP BY 1) AS f USING (k)
				WHERE (t.times, t.total) IS DISTINCT FROM (f.times, f.total);
		END IF;

		-- The ledger.
		RETURN QUERY SELECT format('ledger: %s is not of a version that was committed', l) FROM r.ledger AS l
			WHERE op = 'INSERT' AND l.etag IS NOT NULL AND NOT EXISTS (SELECT FROM r.version AS v WHERE (v.etag, v.collection, v.id) = (l.etag, l.source, l.id));
		RETURN QUERY SELECT format('ledger: %s times %s', count(*), l) FROM r.ledger AS l
			WHERE op = 'INSERT' AND l.etag IS NOT NULL GROUP BY l HAVING count(*) > 1;
		RETURN QUERY SELECT format('ledger: %s of %s changed nothing', op, target) FROM r.ledger WHERE op = 'SAME';
		RETURN QUERY SELECT format('ledger: %s, there are %s', l, t)
			FROM (SELECT l.target, l.source, l.id, l.part, sum(CASE op WHEN 'INSERT' THEN 1 WHEN 'DELETE' THEN -1 ELSE 0 END) AS n FROM r.ledger AS l GROUP BY 1, 2, 3, 4) AS l
			FULL JOIN (SELECT 'r.parent' AS target, 'a' AS source, t.id, '' AS part, 1 AS n FROM r.parent AS t
				UNION ALL SELECT 'r.child', 'a', t.id, t.line::text, 1 FROM r.child AS t
				UNION ALL SELECT 'r.merged', t.source, t.id, t.tag, 1 FROM r.merged AS t
				UNION ALL SELECT 'r.log', t.source, t.id, '', count(*) FROM r.log AS t GROUP BY 2, 3) AS t USING (target, source, id, part)
			WHERE coalesce(l.n, 0) <> coalesce(t.n, 0);
		RETURN QUERY SELECT format('ledger: %s, status: %s', l, c)
			FROM (SELECT target, count(*) FILTER (WHERE op <> 'DELETE') AS written, count(*) FILTER (WHERE op = 'DELETE') AS deleted FROM r.ledger GROUP BY target) AS l
			FULL JOIN (SELECT * FROM docstore.replication_count WHERE replication <> 'sums') AS c USING (target)
			WHERE (l.written, l.deleted) IS DISTINCT FROM (c.written, c.deleted);
	END $$;
	};
}

# Until everything has been replicated that can be.
sub quiet
{
	return q{
	SELECT docstore.resume_replication(name), docstore.retry_replication(name) FROM docstore.replications \g /dev/null
	SELECT docstore.wait_for_replication(name, '100 s') FROM docstore.replications ORDER BY name;
	DO $$ BEGIN
		-- What the table takes again now.
		FOR i IN 1 .. 10000 LOOP
			EXIT WHEN EXISTS (SELECT FROM pg_constraint WHERE conname = 'small')
				OR NOT EXISTS (SELECT FROM r.failed JOIN a USING (id, etag) WHERE NOT r.bad(a.doc));
			PERFORM pg_sleep(0.01);
			COMMIT;
		END LOOP;
	END $$;
	};
}

# ---- histories ----

sub reset_replication
{
	my ($name, $how) = @_;
	return "BEGIN; SELECT docstore.reset_replication('$name'$how); INSERT INTO r.epoch VALUES ('$name'); COMMIT;";
}

sub replace_merged { return "SELECT docstore.replace_replication('merged', '$_[0]', \$r\$$merged_table\$r\$);\n" }

# What is done to the replications meanwhile.
sub action
{
	my @actions = (
		sub { reset_replication('family', '') },
		sub { reset_replication('family', ', remove_rows => false') },
		sub { reset_replication('merged', one_of('', ', remove_rows => false')) },
		sub { reset_replication('log', '') },
		sub { "SELECT docstore.replace_replication('family', '{a}', \$r\$" . family(1 + int(rand(4))) . '$r$);' },
		sub { sprintf('%s SELECT pg_sleep(%f); %s', replace_merged('{a}'), rand(0.1), replace_merged('{a,b}')) },
		sub { my $name = one_of(qw(family merged log)); sprintf("SELECT docstore.pause_replication('$name'); SELECT pg_sleep(%f); SELECT docstore.resume_replication('$name');", rand(0.1)) },
		sub { "SELECT docstore.retry_replication('family');" },
		sub { one_of('ALTER TABLE r.parent DROP CONSTRAINT IF EXISTS small; SELECT docstore.retry_replication(\'family\');',
				'ALTER TABLE r.parent ADD CONSTRAINT small CHECK (n < 85 * def) NOT VALID;') });
	return one_of(@actions)->();
}

my $gids = 0;
sub documents
{
	my ($transactions) = @_;
	my $sql = history($transactions);
	$sql =~ s/docstore\.put\(/r.put(/g;
	$sql =~ s/TRUNCATE (\w);/TRUNCATE $1; INSERT INTO r.truncated VALUES ('$1');/g;
	$sql =~ s/COMMIT;/rand() < 0.05 ? prepared() : 'COMMIT;'/ge;
	$sql =~ s/COMMIT;/rand() < 0.1 ? position() : 'COMMIT;'/ge;
	return $sql;
}
sub prepared
{
	my $gid = 'g' . ++$gids;
	return "PREPARE TRANSACTION '$gid'; SELECT pg_sleep(0.01); COMMIT PREPARED '$gid';";
}
sub position { return "COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT r.at_position(); COMMIT;" }

my $files = 0;
sub session
{
	my ($database, $sql) = @_;
	# A file, so that it goes on while nobody here looks.
	my $file = $node->basedir . '/session' . ++$files . '.sql';
	append_to_file($file, "SET lock_timeout = '2s'; SET client_min_messages = error;\n$sql");
	my $session = { database => $database, out => '', err => '' };
	$session->{handle} = start([ 'psql', '-XqAt', '-d', $node->connstr($database), '-f', $file ], '>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

sub run_everywhere
{
	my ($sql) = @_;
	my @sessions = map { session($_, $sql) } @databases;
	$_->{handle}->finish for @sessions;
	return @sessions;
}

# ---- strikes ----

my $stop = $node->data_dir . '/stop.conf';
sub set_stop
{
	my ($place) = @_;
	open(my $fh, '>', "$stop.new") or die $!;
	print $fh "docstore.debug_stop = '$place'\n";
	close($fh);
	rename("$stop.new", $stop) or die $!;
}
sub replicators
{
	return grep { (eval { slurp_file("/proc/$_/cmdline") } // '') =~ /docstore replicator/ } @{ children($node) };
}
sub reload { kill 'HUP', (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0] }

my %struck;
sub strike
{
	my ($place, $victim, $sessions) = @_;
	my @stopped;

	if ($place ne 'anywhere')
	{
		set_stop($place);
		reload();
		# Something to do for each; where there is a reset on its way this one may have to wait.
		push @$sessions, map { session($_, $place eq 'replicate emptied' ? reset_replication('family', '') : q{SELECT r.put('a', 'last', '{"n": 1, "tags": ["t1"]}');}) } @databases;
		my $more = 50;
		for (1 .. 50 * $PostgreSQL::Test::Utils::timeout_default)
		{
			@stopped = grep { is_stopped($_) } replicators();
			last if @stopped == @databases || @stopped && !$more--;
			select(undef, undef, undef, 0.02);
		}
		@stopped or die "nobody stopped at \"$place\"";
		set_stop('');
		reload();
	}
	$struck{"$place, $victim"} += $place eq 'anywhere' ? @databases : @stopped;
	if ($victim eq 'the server')
	{
		kill_server($node);
		start_again($node);
	}
	else
	{
		# All of them, for those that are stopped cannot be told that one is gone.
		my $seen = -s $node->logfile;
		kill('KILL', replicators()) or die 'there are no replicators';
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $seen);
	}
	wait_for_store($node);
}

# ---- rounds ----

sub check
{
	my ($when) = @_;
	# A strike may have come while collection b was out of it.
	my $whole = "SELECT json_array_length(definition->'collections') = 1 AS lacks FROM docstore.replications WHERE name = 'merged' \\gset\n\\if :lacks\n"
		. replace_merged('{a,b}') . "\\endif\n";
	my @sessions = run_everywhere(q{
		RESET lock_timeout;
		SELECT format(CASE WHEN random() < 0.5 THEN 'COMMIT' ELSE 'ROLLBACK' END || ' PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = current_database() \gexec
		} . position() . $whole . quiet() . position() . q{
		SELECT w FROM r.wrong() AS w LIMIT 5;
		DELETE FROM r.truncated;
	});
	for my $session (@sessions)
	{
		(my $out = $session->{out}) =~ s/^\s*\d*\n//gm;
		is($out . $session->{err}, '', "$when, $session->{database}");
	}
}

$node->safe_psql('postgres', $_) for 'CREATE EXTENSION docstore', "CREATE DATABASE $databases[0]";
$node->safe_psql($databases[0], setup());
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE $databases[0]") for @databases[1 .. $#databases];
$node->safe_psql($_, view()) for @with_view;
check('empty');

my @places = ('replicate read', 'replicate removed', 'replicate rows', 'replicate position', 'replicated', 'replicate emptied', 'anywhere', 'anywhere');
for my $round (1 .. $rounds)
{
	my $place = $places[ $round % @places ];
	my $victim = one_of('the replicator', 'the server');
	my @sessions;

	for my $database (@databases)
	{
		push @sessions, session($database, documents(12));
		push @sessions, session($database, documents(4) . action() . "\n" . documents(4));
	}
	select(undef, undef, undef, rand(0.3));
	strike($place, $victim, \@sessions);
	# They end early, and with errors, where the server did.
	for my $session (@sessions)
	{
		eval { $session->{handle}->finish };
		my @wrong = grep { /position/ } split /\n/, $session->{out};
		is("@wrong", '', "round $round, $session->{database}: at the position") if @wrong;
	}
	check("round $round, $place, $victim");
}
note("$struck{$_} replicators struck: $_") for sort keys %struck;
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
