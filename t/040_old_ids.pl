# Transaction ids grow old: a million are burnt and everything is frozen, while the store holds undecided, aborted and
# old versions.  The commit log stays until the store has let go of it, and nothing becomes unreadable.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('old_ids');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 0
max_prepared_transactions = 5
autovacuum = off
});
$node->start;
$node->safe_psql('postgres', q{
	ALTER DATABASE template0 ALLOW_CONNECTIONS true;
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('a');
	CREATE TABLE burnt (i int);
	-- Every exception ends a subtransaction that had an id.
	CREATE PROCEDURE burn(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..n LOOP
			BEGIN
				INSERT INTO burnt VALUES (i);
				RAISE EXCEPTION 'x';
			EXCEPTION WHEN raise_exception THEN
			END;
			IF i % 20000 = 0 THEN COMMIT; END IF;
		END LOOP;
	END $$;
});

sub freeze_all
{
	$node->command_ok([ 'vacuumdb', '-q', '-a', '-F', '-p', $node->port, '-h', $node->host ], 'everything is frozen');
}

sub settled
{
	return $node->safe_psql('postgres', q{SELECT catalog_xmin FROM pg_replication_slots WHERE slot_name = 'docstore'});
}

my $log = $node->data_dir . '/pg_xact/0000';
my $sum = q{SELECT count(*), sum((doc->>'v')::int), md5(string_agg(id || doc::text, ',' ORDER BY id)) FROM a};

# Versions that a snapshot keeps from being settled when they are flushed; aborted ones in a table; a prepared transaction
# whose documents are in a table; another one in the memtable only.
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM a');
$node->safe_psql('postgres', q{INSERT INTO a (id, doc) SELECT 'old/' || g, '{"v": 1}' FROM generate_series(1, 2000) g});
my $aborter = $node->background_psql('postgres');
$aborter->query_safe(q{BEGIN;
	INSERT INTO a (id, doc) SELECT 'aborted/' || g, '{"v": 0}' FROM generate_series(1, 2000) g;
	UPDATE a SET doc = '{"v": 0}' WHERE id LIKE 'old/1%'});
$node->safe_psql('postgres', q{
	BEGIN; INSERT INTO a VALUES ('prepared/1', '{"v": 7}'); DELETE FROM a WHERE id = 'old/2'; PREPARE TRANSACTION 'one'});
$node->safe_psql('postgres', 'SELECT docstore.flush()');
$node->safe_psql('postgres', q{BEGIN; INSERT INTO a VALUES ('prepared/2', '{"v": 7}'); PREPARE TRANSACTION 'two'});
$node->safe_psql('postgres', q{INSERT INTO a VALUES ('new', '{"v": 1}')});
$aborter->query_safe('ROLLBACK');
$aborter->quit;
$reader->query_safe('COMMIT');
$reader->quit;
my $before = $node->safe_psql('postgres', $sum);
like($before, qr/^2001\|2001\|/, 'what there is');
my $first = settled();
cmp_ok($node->safe_psql('postgres', 'SELECT pg_current_xact_id()') - $first, '<', 100, 'the slot stands before all of it');

# The prepared transactions hold everything back.
$node->safe_psql('postgres', 'CALL burn(1100000)');
freeze_all();
is($node->safe_psql('postgres', $sum), $before, 'a million ids later all is there');
is(settled(), $first, 'the ids of prepared transactions are kept');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $sum), $before, 'also after a crash');

# Now nothing but the slot does.  A compactor that is kept from settling them cannot lose them.
my $compactor = $node->safe_psql('postgres', 'SELECT compactor_pid FROM docstore.status');
kill 'STOP', $compactor;
$node->safe_psql('postgres', q{COMMIT PREPARED 'one'; ROLLBACK PREPARED 'two'});
freeze_all();
ok(-f $log, 'the commit log is there');
my $after = $node->safe_psql('postgres', $sum);
like($after, qr/^2001\|2007\|/, 'prepared transactions decided after a million ids');
is($node->safe_psql('postgres', q{SELECT count(*) FROM a WHERE id LIKE 'prepared/%' OR id = 'old/2'}), '1', 'both');
$node->safe_psql('postgres', q{UPDATE a SET doc = doc || '{"again": true}' WHERE id IN ('old/1', 'old/3', 'prepared/1')});
$after = $node->safe_psql('postgres', $sum);

# The store is idle, and settles what it holds by itself.  Then the commit log goes.
kill 'CONT', $compactor;
ok($node->poll_query_until('postgres', q{SELECT catalog_xmin::text::bigint > 1048576 FROM pg_replication_slots WHERE slot_name = 'docstore'}),
	'old ids are settled by age');
freeze_all();
ok(!-f $log, 'and is truncated when the store needs it no more');
is($node->safe_psql('postgres', $sum), $after, 'everything is readable without it');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $sum), $after, 'also after a crash');
$node->safe_psql('postgres', q{
	INSERT INTO a VALUES ('aborted/1', '{"v": 1}');
	UPDATE a SET doc = '{"v": 2}' WHERE id = 'old/5';
	DELETE FROM a WHERE id = 'new';
	SELECT docstore.compact()});
is($node->safe_psql('postgres', q{SELECT count(*), sum((doc->>'v')::int) FROM a}), '2001|2008', 'and writable');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
unlike(slurp_file($node->logfile), qr/too old to look up|could not look up/, 'no id was ever too old');

$node->stop;
done_testing();
