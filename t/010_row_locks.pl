# Row locks: held by prepared transactions over a crash; a counter and a work queue with many clients.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('locks');
$node->init(allows_streaming => 1);
# A small memtable: counters and lock records go through flush and compaction all the time.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
max_prepared_transactions = 5
max_connections = 25
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('docs');
	INSERT INTO docs SELECT to_char(i, 'FM00000'), to_jsonb(i) FROM generate_series(1, 3000) AS i;
});

# Which of the lock modes can be had for a document?
sub obtainable
{
	my ($id) = @_;
	return join(' ', map {
		my $ret = $node->psql('postgres', "SELECT id FROM docs WHERE id = '$id' FOR $_ NOWAIT", stderr => \my $err);
		$ret == 0 ? lc($_) : $err =~ /could not obtain lock/ ? () : "error: $err"
	} 'KEY SHARE', 'SHARE', 'NO KEY UPDATE', 'UPDATE');
}

$node->safe_psql('postgres', q{
	BEGIN;
	SELECT id FROM docs WHERE id = '00001' FOR UPDATE;
	SELECT id FROM docs WHERE id = '00002' FOR SHARE;
	SELECT id FROM docs WHERE id = '00003' FOR KEY SHARE;
	SAVEPOINT s;
	SELECT id FROM docs WHERE id = '00004' FOR UPDATE;
	ROLLBACK TO s;
	SELECT id FROM docs WHERE id = '00005' FOR NO KEY UPDATE;
	UPDATE docs SET doc = '"prepared"' WHERE id = '00006';
	PREPARE TRANSACTION 'few';
	BEGIN;
	SELECT count(*) FROM (SELECT id FROM docs WHERE id > '01000' FOR UPDATE) AS s;
	PREPARE TRANSACTION 'many';
});

sub check_locks
{
	my ($when) = @_;
	is(obtainable('00001'), '', "FOR UPDATE is held $when");
	is(obtainable('00002'), 'key share share', "FOR SHARE is held $when");
	like(obtainable('00003'), qr/^key share share( no key update)?$/, "FOR KEY SHARE is held $when");
	is(obtainable('00004'), 'key share share no key update update', "what was rolled back is not $when");
	is(obtainable('00005'), 'key share', "FOR NO KEY UPDATE is held $when");
	is(obtainable('00006'), 'key share', "an update is a lock $when");
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT id FROM docs WHERE id > '01000' FOR KEY SHARE SKIP LOCKED) AS s"),
		'0', "all of many locks are held $when");
}

check_locks('by a prepared transaction');
$node->stop('immediate');
$node->start;
check_locks('after a crash');
$node->safe_psql('postgres', 'SELECT docstore.flush()');
$node->restart;
check_locks('after a flush and a restart');
$node->safe_psql('postgres', "COMMIT PREPARED 'few'");
is(obtainable($_), 'key share share no key update update', "$_ is free after COMMIT PREPARED") for qw(00001 00002 00003 00005 00006);
$node->safe_psql('postgres', "ROLLBACK PREPARED 'many'");
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT id FROM docs FOR UPDATE SKIP LOCKED) AS s"), '3000', 'and all after ROLLBACK PREPARED');

# A counter that sixteen clients count up, three ways; a third of the transactions are rolled back, some of them only to a savepoint.
$node->safe_psql('postgres', q{
	INSERT INTO docs VALUES ('counter', '0'), ('sum', '0');
	CREATE TABLE counted (n bigint);
});
my %scripts = (
	update => q{
BEGIN;
UPDATE docs SET doc = to_jsonb(doc::bigint + 1) WHERE id = 'counter';
INSERT INTO counted VALUES (1);
COMMIT;
},
	locked => q{
BEGIN;
SELECT doc::bigint + 1 AS next FROM docs WHERE id = 'counter' FOR UPDATE \gset
UPDATE docs SET doc = to_jsonb(:next::bigint) WHERE id = 'counter';
INSERT INTO counted VALUES (1);
COMMIT;
},
	undone => q{
BEGIN;
SAVEPOINT s;
UPDATE docs SET doc = to_jsonb(doc::bigint + 100) WHERE id = 'counter';
ROLLBACK TO s;
UPDATE docs SET doc = to_jsonb(doc::bigint + 1) WHERE id = 'counter';
INSERT INTO counted VALUES (1);
SAVEPOINT t;
UPDATE docs SET doc = to_jsonb(doc::bigint + 1000) WHERE id = 'counter';
ROLLBACK;
},
);
my @files;
for my $name (sort keys %scripts)
{
	append_to_file($node->basedir . "/$name.sql", $scripts{$name});
	push @files, '-f', $node->basedir . "/$name.sql";
}
command_ok([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 16, '-j', 2, '-t', 60, @files, 'postgres' ], 'sixteen clients count');
is($node->safe_psql('postgres', q{SELECT (SELECT doc::bigint FROM docs WHERE id = 'counter') = count(*), count(*) > 100 FROM counted}), 't|t',
	'no increment is lost');

# A queue that eight clients empty, some of whom give back what they took.
$node->safe_psql('postgres', q{
	SELECT docstore.create_collection('jobs');
	INSERT INTO jobs SELECT 'job/' || to_char(i, 'FM0000'), '{"state": "todo"}' FROM generate_series(1, 1000) AS i;
	CREATE TABLE done (id text);
	CREATE FUNCTION work(give_back boolean) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		job text;
	BEGIN
		SELECT id INTO job FROM jobs WHERE doc->>'state' = 'todo' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
		IF job IS NULL THEN RETURN; END IF;
		BEGIN
			INSERT INTO done VALUES (job);
			UPDATE jobs SET doc = '{"state": "done"}' WHERE id = job;
			IF give_back THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END $$;
});
append_to_file($node->basedir . '/work.sql', q{
\set n random(1, 5)
SELECT work(:n = 1);
});
command_ok([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 8, '-j', 2, '-t', 250, '-f', $node->basedir . '/work.sql', 'postgres' ], 'eight clients work');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT id) FROM done}), '1000|1000', 'each job was done once');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobs WHERE doc->>'state' = 'done'}), '1000', 'and says so');

$node->stop;
done_testing();
