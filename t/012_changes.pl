# The change feed over crashes, restarts and prepared transactions: whoever commits late is not skipped, nothing is
# invented, and what everybody has read gives its space back.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start);
use FindBin;
use lib "$FindBin::RealBin/lib";
use Histories qw(background);

my $node = PostgreSQL::Test::Cluster->new('changes');
$node->init(allows_streaming => 1);
# Small memtables, so that entries are flushed and merged all the time; and asynchronous commits that crashes lose.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 200ms
max_prepared_transactions = 20
restart_after_crash = on
wal_writer_delay = 10s
wal_writer_flush_after = 0
});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub changes { return sql("SELECT string_agg(coalesce(id, '*') || CASE WHEN deleted THEN '-' ELSE '' END, ' ' ORDER BY etag) FROM docstore.changes('$_[0]')") }
sub done { return sql("SELECT docstore.advance_consumer('$_[0]', max(etag)) FROM docstore.changes('$_[0]', 1000000)") }
sub crash
{
	$node->stop('immediate');
	$node->start;
}

sql(q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('things');
	SELECT docstore.create_consumer('sub', '{things}');
});

# ---- prepared transactions ----

sql(q{BEGIN; INSERT INTO things VALUES ('one', '1'); PREPARE TRANSACTION 'one'});
sql(q{INSERT INTO things VALUES ('between', '1')});
sql(q{BEGIN; INSERT INTO things VALUES ('two', '1'); PREPARE TRANSACTION 'two'});
sql(q{INSERT INTO things VALUES ('late', '1')});
is(changes('sub'), '', 'a prepared transaction holds later changes back');
crash();
is(changes('sub'), '', 'after a crash, too');
sql(q{DELETE FROM things WHERE id = 'between'});
$node->restart;
is(changes('sub'), '', 'after a restart, too');
sql(q{SELECT docstore.flush()});
is(changes('sub'), '', 'after a flush, too');
sql(q{COMMIT PREPARED 'one'});
is(changes('sub'), 'one', 'committed, it lets the second hold them back');
done('sub');
crash();
sql(q{COMMIT PREPARED 'two'});
is(changes('sub'), 'two late between-', 'all is there in the end');
done('sub');
sql(q{BEGIN; INSERT INTO things VALUES ('never', '1'); PREPARE TRANSACTION 'never'});
sql(q{INSERT INTO things VALUES ('last', '1')});
crash();
sql(q{ROLLBACK PREPARED 'never'});
is(changes('sub'), 'last', 'one that is rolled back lets go, too');
done('sub');
# A failed PREPARE leaves nothing behind.
sql(q{BEGIN; INSERT INTO things VALUES ('a', '1'); PREPARE TRANSACTION 'same'});
$node->psql('postgres', q{BEGIN; INSERT INTO things VALUES ('b', '1'); PREPARE TRANSACTION 'same'});
sql(q{COMMIT PREPARED 'same'});
sql(q{INSERT INTO things VALUES ('c', '1')});
is(changes('sub'), 'a c', 'a PREPARE TRANSACTION that failed holds nothing back');
done('sub');

# Many that are over, in a database where nobody reads meanwhile, are in nobody's way.
sql(join('', map { "BEGIN; INSERT INTO things VALUES ('over$_', '1'); PREPARE TRANSACTION 'over'; COMMIT PREPARED 'over';" } 1 .. 20));
sql('CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('things');
	SELECT docstore.create_consumer('sub', '{things}');
});
$node->safe_psql('elsewhere', q{BEGIN; INSERT INTO things VALUES ('one', '1'); PREPARE TRANSACTION 'one'});
$node->safe_psql('elsewhere', q{COMMIT PREPARED 'one'});
is($node->safe_psql('elsewhere', q{SELECT id FROM docstore.changes('sub', 10)}), 'one', 'there is room for those of other databases');
done('sub');

# ---- positions and etags over a crash ----

sql(q{INSERT INTO things VALUES ('before', '1')});
done('sub');
# Numbers are taken by writers that lose everything.
sql(q{SET synchronous_commit = off; INSERT INTO things SELECT 'lost' || g, '1' FROM generate_series(1, 500) AS g; DELETE FROM things WHERE id LIKE 'lost%'});
crash();
sql(q{INSERT INTO things VALUES ('after', '1')});
like(changes('sub'), qr/(^| )after$/, 'what is written after a crash comes behind every position');
done('sub');

# ---- several who wait ----

my @waiters;
for my $i (0 .. 2)
{
	my %w = (in => '', out => '', err => '');
	$w{handle} = start(['psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q{SELECT docstore.wait_for_changes('sub', '1 hour')}],
		'<', \$w{in}, '>', \$w{out}, '2>', \$w{err});
	push @waiters, \%w;
}
$node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM pg_stat_activity WHERE query LIKE '%wait_for%' AND wait_event = 'Extension' AND pid <> pg_backend_pid()});
sql(q{INSERT INTO things VALUES ('news', '1')});
for my $w (@waiters)
{
	$w->{handle}->finish;
	is($w->{out}, "t\n", 'who waits is woken');
}
done('sub');

# ---- space ----

# Poll: the compactor looks for itself, and only at what is worth it, so ids are long and do not compress.
sub entries_at_most
{
	my ($n, $name) = @_;
	ok($node->poll_query_until('postgres', "SELECT entries <= $n FROM docstore.status"), $name)
		or diag(sql('SELECT * FROM docstore.status'));
}
sql(q{TRUNCATE things; SELECT docstore.create_consumer('slow', '{things}')});
sql(q{INSERT INTO things SELECT g || string_agg(md5(g || '/' || i), ''), '1' FROM generate_series(1, 5000) AS g, generate_series(1, 20) AS i GROUP BY g});
sql(q{DELETE FROM things WHERE id LIKE '77%'});
my $left = sql('SELECT count(*) FROM things');
sql('SELECT docstore.compact()');
cmp_ok(sql('SELECT entries FROM docstore.status'), '>=', 10000, 'documents and changes are in tables');
done('sub');
sql('SELECT docstore.compact()');
cmp_ok(sql('SELECT entries FROM docstore.status'), '>=', 10000, 'changes stay while anybody may read them');
is(sql(q{SELECT count(*) FROM docstore.changes('slow', 100000) WHERE deleted AND id LIKE '77%'}), 5000 - $left, 'deletions, too');
done('slow');
entries_at_most($left + 100, 'what all have read gives its space back');
is(changes('slow'), '', 'and is not missed');
sql(q{UPDATE things SET doc = '2'});
sql('SELECT docstore.compact()');
cmp_ok(sql('SELECT entries FROM docstore.status'), '>=', 2 * $left, 'and again');
sql(q{SELECT docstore.drop_consumer('sub'), docstore.drop_consumer('slow')});
entries_at_most($left + 100, 'without consumers nothing is kept');
sql(q{UPDATE things SET doc = '3'});
sql('SELECT docstore.compact()');
cmp_ok(sql('SELECT entries FROM docstore.status'), '<=', $left + 100, 'nor recorded');
# A dropped collection takes its changes along.
sql(q{SELECT docstore.create_consumer('sub', '{things}'); UPDATE things SET doc = '4'});
sql('SELECT docstore.compact()');
sql(q{SELECT docstore.drop_collection('things', cascade => true)});
entries_at_most(100, 'a dropped collection takes its changes along');

# ---- a copied database ----

sql(q{
	SELECT docstore.create_collection('things');
	INSERT INTO things VALUES ('old', '1'), ('gone', '1'), ('changed', '1');
	SELECT docstore.create_consumer('sub', '{things}');
	UPDATE things SET doc = '2' WHERE id = 'changed';
	INSERT INTO things VALUES ('new', '1');
	DELETE FROM things WHERE id = 'gone';
});
my $pending = changes('sub');
is($pending, 'changed new gone-', 'changes to be read');
# Those who just disconnected may still be there.
$node->poll_query_until('template1', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'postgres'});
$node->safe_psql('template1', 'CREATE DATABASE copied TEMPLATE postgres');
sub copied { return $node->safe_psql('copied', $_[0]) }
is(copied(q{SELECT string_agg(id || CASE WHEN deleted THEN '-' ELSE '' END, ' ' ORDER BY id) FROM docstore.changes('sub')}),
	'changed gone- new', 'the same in the copy');
is(copied(q{SELECT count(*) FROM docstore.changes('sub') JOIN things USING (id, etag)}), '2', 'with the etags of the copies');
copied(q{SELECT docstore.advance_consumer('sub', max(etag)) FROM docstore.changes('sub'); INSERT INTO things VALUES ('later', '1')});
is(copied(q{SELECT string_agg(id, ' ') FROM docstore.changes('sub')}), 'later', 'each goes on by itself');
is(changes('sub'), $pending, 'the template, too');
$node->safe_psql('postgres', 'DROP DATABASE copied');
sql(q{SELECT docstore.drop_collection('things', cascade => true)});

# ---- a random history ----

# Writers with pauses between their etags and their commits; savepoints, rollbacks, prepared transactions, TRUNCATE.
# Each writes down, in the same transaction, what it did.  A consumer copies the documents to a table.
sql(q{
	SELECT docstore.create_collection('docs');
	CREATE TABLE history (id text, etag bigint, doc jsonb);
	CREATE TABLE gone (id text);
	CREATE SEQUENCE counter;

	CREATE FUNCTION work() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		k text := 'k' || (random() * 200)::int;
		what int := (random() * 100)::int;
	BEGIN
		IF what < 40 THEN
			WITH w AS (SELECT docstore.put('docs', k, to_jsonb(nextval('counter'))) AS etag)
			INSERT INTO history SELECT k, etag, to_jsonb(currval('counter')) FROM w;
		ELSIF what < 60 THEN
			WITH w AS (UPDATE docs SET doc = to_jsonb(nextval('counter')) WHERE id = k RETURNING id, etag, doc)
			INSERT INTO history SELECT * FROM w;
		ELSIF what < 75 THEN
			WITH w AS (DELETE FROM docs WHERE id = k RETURNING id) INSERT INTO gone SELECT * FROM w;
		ELSIF what < 90 THEN
			WITH w AS (INSERT INTO docs SELECT k || '/' || nextval('counter'), to_jsonb(g) FROM generate_series(1, 10) g RETURNING id, etag, doc)
			INSERT INTO history SELECT * FROM w;
		ELSIF what < 94 THEN
			BEGIN
				DELETE FROM docs WHERE id = k;
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		ELSIF what < 96 THEN
			WITH w AS (DELETE FROM docs WHERE id > k || '/' RETURNING id) INSERT INTO gone SELECT * FROM w;
		ELSIF what = 96 THEN
			TRUNCATE docs;
		END IF;
		IF random() < 0.3 THEN
			PERFORM pg_sleep(random() * 0.02);
		END IF;
	END $$;

	CREATE PROCEDURE copy(sub text, INOUT n int) LANGUAGE plpgsql AS $$
	DECLARE
		c record;
		last bigint;
	BEGIN
		n := 0;
		FOR c IN SELECT * FROM docstore.changes(sub, 1 + (random() * 100)::int) LOOP
			IF c.id IS NULL THEN
				EXECUTE format('DELETE FROM %I', 'copy_' || sub);
			ELSIF c.deleted THEN
				EXECUTE format('DELETE FROM %I WHERE id = $1', 'copy_' || sub) USING c.id;
			ELSE
				EXECUTE format('INSERT INTO %I VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET etag = $2, doc = $3',
					'copy_' || sub) USING c.id, c.etag, c.doc;
			END IF;
			INSERT INTO consumed VALUES (sub, c.etag, c.id, c.deleted, c.doc);
			last := c.etag;
			n := n + 1;
		END LOOP;
		PERFORM docstore.advance_consumer(sub, last);
	END $$;
	CREATE TABLE consumed (sub text, etag bigint, id text, deleted boolean, doc jsonb, PRIMARY KEY (sub, etag));
	CREATE TABLE copy_a (id text COLLATE "C" PRIMARY KEY, etag bigint, doc jsonb);
	CREATE TABLE copy_b (LIKE copy_a INCLUDING ALL);
	SELECT docstore.create_consumer('a', '{docs}');

	CREATE PROCEDURE follow(sub text) LANGUAGE plpgsql AS $$
	DECLARE n int;
	BEGIN
		LOOP
			CALL copy(sub, n);
			IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
			IF n = 0 THEN
				PERFORM docstore.wait_for_changes(sub, '100 ms');
			END IF;
		END LOOP;
	END $$;
});
my $script = $node->basedir . '/history.sql';
append_to_file($script, q{
\set end random(1, 20)
BEGIN;
SELECT work();
SELECT work();
\if :end <= 3
SAVEPOINT s;
SELECT work();
ROLLBACK TO s;
\endif
SELECT work();
\if :end = 4
ROLLBACK;
\elif :end = 5
PREPARE TRANSACTION 'p:client_id';
\set pause random(1, 100)
\sleep :pause ms
COMMIT PREPARED 'p:client_id';
\elif :end = 6
PREPARE TRANSACTION 'p:client_id';
\sleep 10 ms
ROLLBACK PREPARED 'p:client_id';
\else
COMMIT;
\endif
});

sub follower { return background('psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL follow('$_[0]')") }
for my $round (1 .. 4)
{
	my @runs = (
		background('pgbench', '-n', '-c', 8, '-j', 2, '-T', 3, '--max-tries=1000', '-f', $script, $node->connstr('postgres')),
		follower('a'));

	# Halfway through everything a second consumer comes, who begins with what is there.
	if ($round == 2)
	{
		sql(q{SELECT docstore.create_consumer('b', '{docs}')});
		sql(q{INSERT INTO copy_b SELECT id, etag, doc FROM docs});
	}
	push @runs, follower('b') if $round >= 2;
	# Every other round ends in a crash in the midst of it.
	if ($round % 2 == 0)
	{
		sleep 2;
		$node->stop('immediate');
		$_->{handle}->finish for @runs;
		$node->start;
	}
	else
	{
		$runs[0]->{handle}->finish;
		like($runs[0]->{out}, qr/number of failed transactions: 0 /, 'writers ran undisturbed') or diag($runs[0]->{err});
		sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL follow%' AND pid <> pg_backend_pid()});
		$_->{handle}->finish for @runs;
	}
	# What is still prepared is decided one way or the other, while the consumers go on.
	for my $gid (split /\n/, sql('SELECT gid FROM pg_prepared_xacts'))
	{
		sql("CALL copy('a', NULL)");
		sql((rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
	}
}
for my $sub ('a', 'b')
{
	while (sql("CALL copy('$sub', NULL)") > 0) { }
	is(sql("SELECT count(*) FROM docs FULL JOIN copy_$sub AS c USING (id) WHERE docs.etag IS DISTINCT FROM c.etag OR docs.doc IS DISTINCT FROM c.doc"),
		'0', "consumer $sub has what the collection has");
}
cmp_ok(sql(q{SELECT count(*) FROM consumed}), '>', 1000, 'there was something to do');
is(sql(q{SELECT count(*) FROM consumed AS c WHERE NOT deleted AND NOT EXISTS
		(SELECT FROM history AS h WHERE h.id = c.id AND h.etag = c.etag AND h.doc = c.doc)}), '0', 'no document was invented');
is(sql(q{SELECT count(*) FROM consumed AS c WHERE deleted AND id IS NOT NULL AND id NOT IN (SELECT id FROM gone)}), '0', 'nor a deletion');
is(sql('SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
