# A database's OID is used again (CREATE DATABASE ... OID): nothing of the dropped one's documents shows, and its drop
# record does not take the new ones.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('oid');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'");
$node->start;

my $make = 'CREATE DATABASE other OID 700001 TEMPLATE template0';
$node->safe_psql('postgres', $make);
$node->safe_psql('other', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('c');
	INSERT INTO c (id, doc) SELECT g::text, '{"old": true}' FROM generate_series(1, 2000) g});
# The newest version of each is a deletion that was rolled back.
$node->safe_psql('other', 'BEGIN; DELETE FROM c; ROLLBACK');
$node->safe_psql('postgres', 'DROP DATABASE other');

# The launcher comes round once a minute; until the documents are gone the OID is refused.
my ($ret, $out, $err) = $node->psql('postgres', $make);
isnt($ret, 0, 'an OID under which documents lie is refused');
like($err, qr/there are documents of a dropped database with OID 700001/, 'with the reason');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_database WHERE datname = 'other'}), '0', 'and nothing is made');
$node->safe_psql('postgres', 'CREATE DATABASE another TEMPLATE template0');
ok(1, 'other databases can be made');

$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'docstore launcher'});
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	($ret) = $node->psql('postgres', $make);
	last if $ret == 0;
	select undef, undef, undef, 0.1;
}
is($ret, 0, 'when they are gone the OID can be used');
$node->safe_psql('other', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('c');
	INSERT INTO c (id, doc) SELECT g::text, '{}' FROM generate_series(1, 3000) g});
$node->safe_psql('other', 'SELECT docstore.compact()');
is($node->safe_psql('other', q{SELECT count(*), count(doc->'old') FROM c}), '3000|0', 'the new database has its own documents');
$node->restart;
$node->safe_psql('other', 'SELECT docstore.compact()');
is($node->safe_psql('other', q{SELECT count(*), count(doc->'old') FROM c}), '3000|0', 'also after a restart');

$node->stop;
done_testing();
