# The compactor flushes and compacts by itself, follows settings, and gives space back.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('background');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.block_cache_size = '4MB'
});
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('a'); SELECT docstore.create_collection('b')});

is($node->safe_psql('postgres', q{SELECT string_agg(backend_type, ',' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type LIKE 'docstore%' AND backend_type <> 'docstore indexer'}),
	'docstore compactor,docstore launcher', 'the workers show themselves');
is($node->safe_psql('postgres', 'SELECT state FROM docstore.status'), 'running', 'the store runs');
is($node->safe_psql('postgres', q{SELECT active FROM pg_replication_slots WHERE slot_name = 'docstore'}), 't', 'the slot is held');

$node->safe_psql('postgres', q{
	INSERT INTO a (id, doc) SELECT 'a/' || g, jsonb_build_object('n', g, 'pad', repeat(md5(g::text), 10)) FROM generate_series(1, 20000) g;
	INSERT INTO b (id, doc) SELECT 'b/' || g, jsonb_build_object('n', g) FROM generate_series(1, 20000) g;
});
ok($node->poll_query_until('postgres', 'SELECT memtables_waiting = 0 AND flushes > 5 AND compactions > 0 FROM docstore.status'),
	'flushes and compactions happen');
is($node->safe_psql('postgres', q{SELECT count(*), sum((doc->>'n')::bigint) FROM a}), '20000|200010000', 'nothing is lost on the way');
is($node->safe_psql('postgres', q{SELECT doc->>'n' FROM a WHERE id = 'a/12345'}), '12345', 'lookup');

# An old reader keeps its documents while everything is rewritten under it.
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM a');
$node->safe_psql('postgres', q{UPDATE a SET doc = doc || '{"n": 0}'});
$node->safe_psql('postgres', q{DELETE FROM b WHERE id < 'b/5'});
$node->safe_psql('postgres', 'SELECT docstore.compact()');
is($reader->query_safe(q{SELECT sum((doc->>'n')::bigint) FROM a}), '200010000', 'an old snapshot sees the old documents');
is($reader->query_safe(q{SELECT count(*) FROM b}), '20000', 'and deleted ones');
$reader->query_safe('COMMIT');
$reader->quit;
is($node->safe_psql('postgres', q{SELECT sum((doc->>'n')::bigint) FROM a}), '0', 'a new one the new ones');

# A session that is ended with open cursors leaves nothing behind that would keep arenas and files.
my $ended = $node->background_psql('postgres', on_error_stop => 0);
$ended->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT * FROM a; FETCH 10 FROM c});
my $ended_pid = $ended->query_safe('SELECT pg_backend_pid()');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($ended_pid)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $ended_pid"), 'a session with an open cursor ends');
eval { $ended->{run}->kill_kill };

# TRUNCATE and drop give their space back.
$node->safe_psql('postgres', 'SELECT docstore.compact()');
my $before = $node->safe_psql('postgres', 'SELECT bytes FROM docstore.status');
$node->safe_psql('postgres', q{TRUNCATE a; SELECT docstore.drop_collection('b')});
ok($node->poll_query_until('postgres', q{SELECT bytes < 10000 FROM docstore.status}), "space of $before bytes comes back");

# A dropped database, too: the launcher finds it.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION docstore; SELECT docstore.create_collection('c');
	INSERT INTO c (id, doc) SELECT g::text, '{}' FROM generate_series(1, 20000) g; SELECT docstore.flush()});
cmp_ok($node->safe_psql('postgres', 'SELECT bytes FROM docstore.status'), '>', 10000, 'another database shares the store');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'docstore launcher'});
ok($node->poll_query_until('postgres', q{SELECT bytes < 10000 FROM docstore.status}), 'the documents of a dropped database go');

# Settings are reloaded; an immediate end of the worker is mended.
$node->append_conf('postgresql.conf', "docstore.background_rate = '100MB'");
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT current_setting('docstore.background_rate') = '100MB'}), 'reload');
my $pid = $node->safe_psql('postgres', 'SELECT compactor_pid FROM docstore.status');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT compactor_pid <> $pid FROM docstore.status"), 'a compactor that ended comes back');
$node->safe_psql('postgres', q{INSERT INTO a VALUES ('x', '{}'); SELECT docstore.flush()});
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');

# With docstore.seek_compaction a file that lookups search in vain is merged, here one whose documents are too new for the reader.
$node->append_conf('postgresql.conf', 'docstore.seek_compaction = on');
$node->restart;
$node->safe_psql('postgres', q{INSERT INTO a SELECT 's/' || g, to_jsonb(g) FROM generate_series(1, 300) g; SELECT docstore.compact()});
$reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM a');
$node->safe_psql('postgres', q{UPDATE a SET doc = '0' WHERE id LIKE 's/%'; SELECT docstore.flush()});
my $newest = 'SELECT coalesce(sum(files), 0) FROM docstore.levels WHERE level = 0';
is($node->safe_psql('postgres', $newest), '1', 'new versions lie in level 0');
$reader->query_safe(q{DO $$ BEGIN FOR i IN 1 .. 200 LOOP PERFORM doc FROM a WHERE id = 's/150'; END LOOP; END $$});
ok($node->poll_query_until('postgres', "SELECT ($newest) = 0"), 'lookups that pass them by have them merged');
is($reader->query_safe(q{SELECT doc FROM a WHERE id = 's/150'}), '150', 'the old snapshot still sees the old document');
$reader->query_safe('COMMIT');
$reader->quit;

$node->stop;
done_testing();
