# A restart keeps every committed document, clean or not, and the catalog with it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('restart');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('birds');
	INSERT INTO birds (id, doc) SELECT 'bird/' || g, jsonb_build_object('n', g, 'name', 'Häher ' || g) FROM generate_series(1, 5000) g;
	DELETE FROM birds WHERE id = 'bird/17';
	UPDATE birds SET doc = doc || '{"big": true}' WHERE id = 'bird/18';
});
my $sum = q{SELECT count(*), sum((doc->>'n')::int), count(doc->'big'), md5(string_agg(id || doc::text, ',' ORDER BY id)) FROM birds};
my $before = $node->safe_psql('postgres', $sum);
like($before, qr/^4999\|/, 'documents are there before');

$node->restart;
is($node->safe_psql('postgres', $sum), $before, 'after a clean restart');

$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $sum), $before, 'after an immediate shutdown');

$node->safe_psql('postgres', 'SELECT docstore.flush()');
$node->safe_psql('postgres', q{INSERT INTO birds VALUES ('bird/new', '{"n": 1}')});
my $with_new = $node->safe_psql('postgres', $sum);
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $sum), $with_new, 'half in tables, half in WAL');

# Etags never go back, not over writes that were lost either.
my $etag = $node->safe_psql('postgres', q{SELECT max(etag) FROM birds});
$node->safe_psql('postgres', q{INSERT INTO birds VALUES ('bird/after', '{"n": 2}')});
cmp_ok($node->safe_psql('postgres', q{SELECT etag FROM birds WHERE id = 'bird/after'}), '>', $etag, 'etags grow over a crash');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');

# A prepared transaction is undecided over a restart, then decided.
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->restart;
$node->safe_psql('postgres', q{
	BEGIN; INSERT INTO birds VALUES ('prepared/1', '{}'); PREPARE TRANSACTION 'one';
	BEGIN; INSERT INTO birds VALUES ('prepared/2', '{}'); PREPARE TRANSACTION 'two';
});
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) FROM birds WHERE id LIKE 'prepared/%'}), '0', 'prepared is not committed');
$node->safe_psql('postgres', q{COMMIT PREPARED 'one'});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'two'});
is($node->safe_psql('postgres', q{SELECT string_agg(id, ',') FROM birds WHERE id LIKE 'prepared/%'}), 'prepared/1', 'decided');

$node->stop;
done_testing();
