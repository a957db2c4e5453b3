# Two-phase commit: what a prepared transaction wrote is undecided over restarts, flushes and compactions, keeps others
# from writing it, and is then committed or rolled back together with its rows.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('prepared');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
max_prepared_transactions = 10
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	CREATE TABLE rows (id text PRIMARY KEY, doc jsonb);
	INSERT INTO docs SELECT kind || i, to_jsonb(i) FROM unnest('{keep,change,delete,move}'::text[]) AS kind, generate_series(1, 5) AS i;
	INSERT INTO rows SELECT id, doc FROM docs;
});

# The same changes of documents and of rows, some of them in subtransactions, and one larger than the memtable.
my $changes = q{
	UPDATE %1$s SET doc = to_jsonb(doc::int + 100) WHERE id = 'change%2$s';
	DELETE FROM %1$s WHERE id = 'delete%2$s';
	UPDATE %1$s SET id = 'moved%2$s' WHERE id = 'move%2$s';
	SAVEPOINT a;
	INSERT INTO %1$s VALUES ('released%2$s', '1');
	SAVEPOINT b;
	INSERT INTO %1$s VALUES ('undone%2$s', '1');
	UPDATE %1$s SET doc = '-1' WHERE id = 'change%2$s';
	ROLLBACK TO b;
	RELEASE a;
	INSERT INTO %1$s SELECT 'many%2$s/' || i, to_jsonb(repeat(md5(i::text), 10)) FROM generate_series(1, 1500) AS i;
};
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', 'BEGIN;' . sprintf($changes, 'docs', $i) . sprintf($changes, 'rows', $i) . "PREPARE TRANSACTION 'p$i';");
}

my $differ = q{SELECT count(*) FROM docs AS d FULL JOIN rows AS r USING (id) WHERE d.doc IS DISTINCT FROM r.doc};
my $state = q{SELECT string_agg(id || '=' || doc, ' ' ORDER BY id) FROM docs WHERE id LIKE '%%%s' AND id NOT LIKE 'many%%'};

sub check
{
	my ($when, %is) = @_;
	is($node->safe_psql('postgres', $differ), '0', "documents and rows agree $when");
	for my $i (1 .. 5)
	{
		my $want = $is{$i} ? sprintf('change%1$s=10%1$s keep%1$s=%1$s moved%1$s=%1$s released%1$s=1', $i)
			: sprintf('change%1$s=%1$s delete%1$s=%1$s keep%1$s=%1$s move%1$s=%1$s', $i);
		is($node->safe_psql('postgres', sprintf($state, $i)), $want, "transaction $i $when");
	}
	return;
}

check('when they are prepared');
$node->stop('immediate');
$node->start;
check('after a crash');
$node->safe_psql('postgres', "COMMIT PREPARED 'p1'");
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p2'");
check('after the first were decided', 1 => 1);

# Others wait for what is undecided, over a crash, too.
for my $wait ("UPDATE docs SET doc = '0' WHERE id = 'change3'", "DELETE FROM docs WHERE id = 'delete3'", "INSERT INTO docs VALUES ('moved3', '0')",
	"INSERT INTO docs VALUES ('released3', '0')", "UPDATE docs SET id = 'released3' WHERE id = 'keep3'")
{
	my ($ret, $out, $err) = $node->psql('postgres', "SET lock_timeout = '10ms'; $wait");
	like($err, qr/canceling statement due to lock timeout/, "waits: $wait");
}
$node->safe_psql('postgres', q{BEGIN; INSERT INTO docs VALUES ('undone3', '0'); UPDATE docs SET doc = '0' WHERE id = 'keep3'; ROLLBACK});

$node->safe_psql('postgres', 'SELECT docstore.flush()');
$node->safe_psql('postgres', 'SELECT docstore.compact()');
check('after a compaction', 1 => 1);
$node->restart;
check('after a restart', 1 => 1);
$node->safe_psql('postgres', "COMMIT PREPARED 'p3'");
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p4'");
# The decision is as durable as any commit.
$node->stop('immediate');
$node->start;
check('after decisions and a crash', 1 => 1, 3 => 1);

# Who has waited goes on with what was decided.
my $waiter = $node->background_psql('postgres');
$waiter->{stdin} .= "UPDATE docs SET doc = to_jsonb(doc::int + 1000) WHERE id = 'change5';\n\\echo done\n";
$waiter->{run}->pump_nb;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE docs%'}), 'a waiter');
$node->safe_psql('postgres', "COMMIT PREPARED 'p5'");
$waiter->{run}->pump until $waiter->{stdout} =~ /done/;
$waiter->{stdout} = '';
$waiter->quit;
is($node->safe_psql('postgres', q{SELECT doc FROM docs WHERE id = 'change5'}), '1105', 'sees what was prepared and then committed');
$node->safe_psql('postgres', q{UPDATE rows SET doc = '1105' WHERE id = 'change5'; SELECT docstore.compact()});
is($node->safe_psql('postgres', $differ), '0', 'documents and rows agree in the end');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');

$node->stop;
done_testing();
