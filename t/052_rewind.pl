# pg_rewind: an old primary becomes a standby of the new one, which is written to, flushed and compacted meanwhile.  With
# pg_backup_start around it (docs/operations.md) the files that it copies belong together.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start);

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init(allows_streaming => 1);
$old->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
docstore.flush_delay = 0
wal_log_hints = on
wal_keep_size = 1GB
});
$old->start;
$old->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE pairs (id text PRIMARY KEY, v int);
	INSERT INTO docs (id, doc) SELECT 'k' || g, jsonb_build_object('v', g, 'pad', repeat(md5(g::text), 20)) FROM generate_series(1, 3000) g;
	INSERT INTO pairs SELECT 'k' || g, g FROM generate_series(1, 3000) g;
});
my $change = q{
	BEGIN;
	UPDATE docs SET doc = jsonb_set(doc, '{v}', to_jsonb((doc->>'v')::int + 1)) WHERE id LIKE 'k%1';
	UPDATE pairs SET v = v + 1 WHERE id LIKE 'k%1';
	COMMIT;
};
my $disagree = q{SELECT count(*) FROM docs d FULL JOIN pairs p ON p.id = d.id
	WHERE d.id IS NULL OR p.id IS NULL OR (d.doc->>'v')::int <> p.v};

$old->backup('copy');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'copy', has_streaming => 1);
$new->start;
$new->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('docstore', true)});
$old->safe_psql('postgres', $change);
$old->wait_for_catchup($new, 'replay', $old->lsn('insert'));
$new->promote;

# What is written on the old one only goes.
$old->safe_psql('postgres', qq{$change INSERT INTO docs VALUES ('old', '{"v": 1}'); INSERT INTO pairs VALUES ('old', 1)});
$old->stop;
$new->safe_psql('postgres', 'CHECKPOINT');

my $load_file = $new->basedir . '/load.sql';
append_to_file($load_file, qq{$change SELECT docstore.flush(); SELECT docstore.compact();\n} x 1000);
my $load = start([ 'psql', '-XAtq', '-f', $load_file, '-d', $new->connstr('postgres') ], '>', '/dev/null', '2>', '/dev/null');
my $session = $new->background_psql('postgres');
$session->query_safe(q{SELECT pg_backup_start('rewind', true)});
command_ok([ 'pg_rewind', '-D', $old->data_dir, '--source-server', $new->connstr('postgres'), '--no-sync' ], 'pg_rewind under load');
$session->query_safe(q{SELECT pg_backup_stop(false)});
$session->quit;

unlink $old->data_dir . '/postgresql.conf';
PostgreSQL::Test::Utils::append_to_file($old->data_dir . '/postgresql.conf', slurp_file($new->data_dir . '/postgresql.conf'));
$old->append_conf('postgresql.conf', 'port = ' . $old->port);
$old->enable_streaming($new);
$old->start;
is($old->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots}), '0', 'pg_rewind leaves no slot');
$old->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('docstore', true)});
$load->kill_kill;
eval { $load->finish };
$new->safe_psql('postgres', q{INSERT INTO docs VALUES ('new', '{"v": 1}'); INSERT INTO pairs VALUES ('new', 1)});
$new->wait_for_catchup($old, 'replay', $new->lsn('insert'));
my $sum = $new->safe_psql('postgres', q{SELECT sum((doc->>'v')::int) FROM docs});
$new->stop;
$old->promote;
is($old->safe_psql('postgres', $disagree), '0', 'documents and rows agree');
is($old->safe_psql('postgres', q{SELECT sum((doc->>'v')::int) FROM docs}), $sum, 'as on the new primary');
is($old->safe_psql('postgres', q{SELECT string_agg(id, ' ') FROM docs WHERE id IN ('old', 'new')}), 'new', 'what was written on the other timeline is gone');
is($old->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$old->stop;
done_testing();
