# Snapshots that sessions hand over to each other; pg_dump while others write.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('snapshots');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'\ndocstore.memtable_size = '256kB'");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE rows (id text PRIMARY KEY, n int);
	INSERT INTO docs SELECT to_char(i, 'FM0000'), to_jsonb(i) FROM generate_series(1, 1000) AS i;
	INSERT INTO rows SELECT to_char(i, 'FM0000'), i FROM generate_series(1, 1000) AS i;
});

my $holder = $node->background_psql('postgres');
# The holder's own changes are not handed over with its snapshot.
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe("UPDATE docs SET doc = '-1' WHERE id = '0001'");
my $snapshot = $holder->query_safe('SELECT pg_export_snapshot()');
chomp $snapshot;

$node->safe_psql('postgres', q{
	UPDATE docs SET doc = to_jsonb(doc::int + 1000) WHERE id > '0001';
	UPDATE rows SET n = n + 1000 WHERE id > '0001';
	DELETE FROM docs WHERE id > '0500';
	DELETE FROM rows WHERE id > '0500';
	INSERT INTO docs VALUES ('new', '5');
	SELECT docstore.flush();
	SELECT docstore.compact();
});
my $sums = 'SELECT count(*), sum(doc::int), sum(n) FROM docs FULL JOIN rows USING (id)';
is($node->safe_psql('postgres', "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; $sums"),
	'1000|500500|500500', 'another session sees what the snapshot shows');
is($node->safe_psql('postgres', "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; $sums"), '501|624255|624250', 'and without it what there is now');
my ($ret, $stdout, $stderr) = $node->psql('postgres',
	"BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; UPDATE docs SET doc = '0' WHERE id = '0002'");
like($stderr, qr/could not serialize access due to concurrent update/, 'nothing changed since can be changed under it');

# A dump is of one snapshot: writers move amounts between documents and rows meanwhile.
$holder->query_safe('ROLLBACK');
$holder->quit;
append_to_file($node->basedir . '/move.sql', q{
\set k random(1, 500)
BEGIN;
UPDATE docs SET doc = to_jsonb(doc::int - 1) WHERE id = to_char(:k, 'FM0000');
UPDATE rows SET n = n + 1 WHERE id = to_char(:k, 'FM0000');
COMMIT;
});
my $bench = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', '2', '-t', '1500', '-f', $node->basedir . '/move.sql', 'postgres' ],
	'>', \my $bench_out, '2>', \my $bench_err);
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-Fc', '--include-foreign-data=docstore', '-f', $dump, 'postgres' ], 'pg_dump');
IPC::Run::finish($bench);
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-h', $node->host, '-p', $node->port, '-d', 'copy', $dump ], 'pg_restore');
is($node->safe_psql('copy', $sums =~ s/sum\(doc::int\), sum\(n\)/sum(coalesce(doc::int, 0) + coalesce(n, 0))/r), '501|1248505', 'documents and rows agree in the dump');

# Documents of many transactions, whose ids stay beside them because of an old snapshot.  What one session has learned of
# transactions that ran meanwhile does not keep it from seeing how they ended.
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM docs');
$node->safe_psql('postgres', q{SELECT docstore.create_collection('mixed')});
my @running = map { $node->background_psql('postgres') } 1 .. 4;
my $reader = $node->background_psql('postgres');
my $counts = q{SELECT count(*), count(*) FILTER (WHERE doc = '"open"'), count(*) FILTER (WHERE doc = '"aborted"') FROM mixed};
for my $i (0 .. $#running)
{
	$running[$i]->query_safe("BEGIN; INSERT INTO mixed VALUES ('r$i', '\"open\"')");
	$node->safe_psql('postgres', qq{
		DO \$\$
		BEGIN
			FOR i IN 1 .. 60 LOOP
				INSERT INTO mixed VALUES ('$i/' || i, CASE WHEN i % 3 = 0 THEN '"aborted"' ELSE '"done"' END::jsonb);
				IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
			END LOOP;
		END \$\$});
}
is($reader->query_safe($counts), '160|0|0', 'running and aborted ones are not seen');
is($reader->query_safe($counts), '160|0|0', 'not the second time, either');
$node->safe_psql('postgres', 'SELECT docstore.flush()');
is($reader->query_safe($counts), '160|0|0', 'nor in a table');
is($reader->query_safe($counts), '160|0|0', 'nor the second time there');
$running[0]->query_safe('COMMIT');
$running[1]->query_safe('ROLLBACK');
is($reader->query_safe($counts), '161|1|0', 'one has been committed');
$running[2]->query_safe('COMMIT');
$node->safe_psql('postgres', 'SELECT docstore.compact()');
is($reader->query_safe($counts), '162|2|0', 'and another one');
$running[3]->query_safe('ROLLBACK');
$old->query_safe('COMMIT');
$node->safe_psql('postgres', 'SELECT docstore.compact()');
is($reader->query_safe($counts), '162|2|0', 'and that was all');
$_->quit for @running, $reader, $old;

$node->stop;
done_testing();
