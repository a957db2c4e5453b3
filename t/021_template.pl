# CREATE DATABASE ... TEMPLATE: the copy has the template's documents, and from then on both go their own ways.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('template');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
max_prepared_transactions = 5
});
$node->start;

# Documents in files and in memory, a large one, old versions, deletions, a truncated and a dropped collection.
$node->safe_psql('postgres', 'CREATE ROLE maker LOGIN CREATEDB; CREATE DATABASE shop');
$node->safe_psql('shop', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('birds'), docstore.create_collection('emptied'), docstore.create_collection('dropped');
	INSERT INTO birds (id, doc) SELECT 'bird/' || g, jsonb_build_object('n', g, 'text', repeat(md5(g::text), 10)) FROM generate_series(1, 5000) g;
	INSERT INTO emptied SELECT id, doc FROM birds;
	INSERT INTO dropped SELECT id, doc FROM birds;
	INSERT INTO birds VALUES ('large', jsonb_build_object('text', repeat('x', 3000000)));
	UPDATE birds SET doc = doc || '{"again": true}' WHERE id LIKE 'bird/1%';
	DELETE FROM birds WHERE id LIKE 'bird/2%';
	SELECT docstore.flush();
	INSERT INTO birds VALUES ('late', '{}');
	BEGIN; INSERT INTO birds VALUES ('never', '{}'); ROLLBACK;
	TRUNCATE emptied;
	INSERT INTO emptied VALUES ('one', '{}');
	SELECT docstore.drop_collection('dropped');
});
# (batches of documents that together are larger than a memtable are split up)
$node->safe_psql('shop', q{
	INSERT INTO birds (id, doc) SELECT 'middle/' || g, jsonb_build_object('text', repeat('y', 20000)) FROM generate_series(1, 100) g});
my $sum = q{SELECT (SELECT count(*) || md5(string_agg(id || doc::text || modified, ',' ORDER BY id)) FROM birds), (SELECT count(*) FROM emptied)};
my $before = $node->safe_psql('shop', $sum);

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
is($node->safe_psql('copy', $sum), $before, 'the copy has the documents');
is($node->safe_psql('shop', $sum), $before, 'so has the template');
is($node->safe_psql('copy', q{
	SELECT docstore.create_collection('dropped');
	SELECT count(*) FROM dropped}), "\n0", 'a collection of a dropped one\'s name is empty');

$node->safe_psql('copy', q{DELETE FROM birds WHERE id LIKE 'bird/3%'; INSERT INTO birds VALUES ('new', '{}')});
is($node->safe_psql('shop', $sum), $before, 'the template does not see the copy\'s changes');
$node->safe_psql('shop', q{INSERT INTO emptied VALUES ('two', '{}')});
is($node->safe_psql('copy', q{SELECT count(*) FROM emptied}), '1', 'nor the other way round');

my $changed = $node->safe_psql('copy', $sum);
my $storage = q{SELECT max(storage_id) FROM docstore.collections};
my $last = $node->safe_psql('copy', q{SELECT docstore.create_collection('last'); INSERT INTO last VALUES ('one', '{}')} . "; $storage");
$node->stop('immediate');
$node->start;
is($node->safe_psql('copy', $sum), $changed, 'the copy is there after a crash');
# (PostgreSQL's sequences give numbers twice in a copied database after a crash)
cmp_ok((split /\n/, $node->safe_psql('copy', "SELECT docstore.create_collection('newer'); $storage"))[-1], '>', (split /\n/, $last)[-1],
	'no storage id comes again');

# The launcher drops what belongs to no database.  A new one looks at once.
my $launcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'docstore launcher'};
my $pid = $node->safe_psql('postgres', $launcher);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT EXISTS ($launcher AND pid <> $pid AND state = 'idle')"), 'the launcher has looked again');
$node->safe_psql('postgres', 'CREATE EXTENSION docstore; SELECT docstore.compact()');
is($node->safe_psql('copy', $sum), $changed, 'and left the copy alone');

# Copied from where it is run, and a copy of the copy.
$node->safe_psql('copy', 'CREATE DATABASE again TEMPLATE copy');
is($node->safe_psql('again', $sum), $changed, 'a copy of the database of the session');
$node->safe_psql('postgres', 'DROP DATABASE again');

# What fails leaves nothing behind.
sub directories { my @list = sort glob($node->data_dir . '/base/*'); return "@list" }
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM (SELECT docstore.flush()) f, docstore.status WHERE memtables_waiting > 0}), 'settled');
my ($ret, $out, $err);
my $there = directories();
($ret, $out, $err) = $node->psql('postgres', q{CREATE DATABASE failed TEMPLATE shop TABLESPACE nowhere});
like($err, qr/tablespace "nowhere" does not exist/, 'PostgreSQL refuses after the documents were copied');
is(directories(), $there, 'no directory is left');
$node->safe_psql('postgres', 'CREATE DATABASE failed TEMPLATE shop');
is($node->safe_psql('failed', q{SELECT count(*) FROM emptied}), '2', 'the next one works');
($ret, $out, $err) = $node->psql('postgres', q{CREATE DATABASE failed TEMPLATE shop});
like($err, qr/database "failed" already exists/, 'a name that is taken');

($ret, $out, $err) = $node->psql('postgres', q{CREATE DATABASE theirs TEMPLATE shop}, extra_params => [ '-U', 'maker' ]);
like($err, qr/permission denied to copy database "shop"/, 'who may not copy the database does not get its documents');
$node->safe_psql('postgres', 'ALTER DATABASE shop IS_TEMPLATE true');
$node->safe_psql('postgres', q{CREATE DATABASE theirs TEMPLATE shop}, extra_params => [ '-U', 'maker' ]);
is($node->safe_psql('theirs', q{SELECT count(*) FROM emptied}), '2', 'from a declared template anybody with CREATEDB');

my $session = $node->background_psql('shop');
$session->query_safe('SELECT 1');
($ret, $out, $err) = $node->psql('postgres', q{CREATE DATABASE busy TEMPLATE shop});
like($err, qr/source database "shop" is being accessed by other users.*1 other session/s, 'a template in use');
$session->quit;
($ret, $out, $err) = $node->psql('postgres', q{BEGIN; CREATE DATABASE busy TEMPLATE shop});
like($err, qr/cannot run inside a transaction block/, 'in a transaction');

# A database without documents, and template0 in particular, is copied as ever; a dropped copy takes its documents along.
$node->safe_psql('postgres', 'CREATE DATABASE plain; CREATE DATABASE plain0 TEMPLATE template0; DROP DATABASE copy');
$node->safe_psql('postgres', 'DROP DATABASE theirs; DROP DATABASE failed');
is($node->safe_psql('shop', q{SELECT count(*) FROM emptied}), '2', 'the template is as it was');
# A copy's views have an indexer though nobody made or waits for one there, and so have those of what is a template no more.
$node->safe_psql('plain', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('seeds');
	INSERT INTO seeds VALUES ('1', '{"n": 1}');
	SELECT docstore.create_view('by_n', $$ SELECT doc->>'n' AS n FROM docs $$, '{seeds}')});
$node->safe_psql('postgres', 'CREATE DATABASE viewed TEMPLATE plain');
ok($node->poll_query_until('viewed', q{SELECT count(*) = 1 FROM by_n}), 'a view of the copy is built');
$node->safe_psql('postgres', 'CREATE DATABASE mould TEMPLATE plain IS_TEMPLATE true');
$node->safe_psql('postgres', 'ALTER DATABASE mould IS_TEMPLATE false');
ok($node->poll_query_until('mould', q{SELECT count(*) = 1 FROM by_n}), 'and of a database that was a template');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
