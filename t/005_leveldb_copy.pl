# A copy of a store that PostgreSQL wrote opens with the LevelDB library and reads cleanly, checksums verified.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::RecursiveCopy;
use Test::More;

my $source = q{
#include <leveldb/c.h>
#include <stdio.h>
#include <string.h>
int
main(int argc, char **argv)
{
	char *err = NULL;
	leveldb_options_t *options = leveldb_options_create();
	leveldb_readoptions_t *read = leveldb_readoptions_create();
	leveldb_t *db;
	leveldb_iterator_t *it;
	long n = 0, needles = 0;

	leveldb_options_set_paranoid_checks(options, 1);
	leveldb_readoptions_set_verify_checksums(read, 1);
	db = leveldb_open(options, argv[1], &err);
	if (err != NULL)
	{
		printf("open: %s\n", err);
		return 1;
	}
	it = leveldb_create_iterator(db, read);
	for (leveldb_iter_seek_to_first(it); leveldb_iter_valid(it); leveldb_iter_next(it))
	{
		size_t len;
		const char *value = leveldb_iter_value(it, &len);

		n++;
		if (memmem(value, len, "needle", 6) != NULL)
			needles++;
	}
	leveldb_iter_get_error(it, &err);
	if (err != NULL)
	{
		printf("read: %s\n", err);
		return 1;
	}
	printf("%ld %ld\n", n, needles);
	return 0;
}
};
my $dir = PostgreSQL::Test::Utils::tempdir;
open(my $fh, '>', "$dir/reader.c") or die;
print $fh $source;
close($fh);
system("gcc -D_GNU_SOURCE -o $dir/reader $dir/reader.c -lleveldb") == 0 or die 'cannot build the reader: is libleveldb-dev installed?';

my $node = PostgreSQL::Test::Cluster->new('copy');
$node->init(allows_streaming => 1);
# Debian's LevelDB knows no zstd.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.compression = snappy
docstore.memtable_size = '256kB'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION docstore;
	SELECT docstore.create_collection('a');
	INSERT INTO a (id, doc) SELECT 'a/' || g, jsonb_build_object('n', g, 'text', 'needle ' || repeat(md5(g::text), 20)) FROM generate_series(1, 5000) g;
	DELETE FROM a WHERE id LIKE 'a/1%';
	INSERT INTO a VALUES ('large', jsonb_build_object('text', 'needle ' || repeat('x', 3000000)));
});
my $documents = $node->safe_psql('postgres', 'SELECT count(*) FROM a');
$node->safe_psql('postgres', 'SELECT docstore.compact()');
$node->stop;

# At rest: every live document is there under its key.
PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir . '/docstore', "$dir/copy");
my ($out, $err) = run_command([ "$dir/reader", "$dir/copy" ]);
like($out, qr/^\d+ \d+$/, 'LevelDB reads the copy without an error') or diag($out);
my ($entries, $needles) = split / /, $out;
is($needles, $documents, 'and finds each document');
cmp_ok($entries, '>=', $documents, 'among its entries');

# In the middle of things, with several versions and undecided transactions in the tables: it still reads cleanly.
$node->start;
my $open = $node->background_psql('postgres');
$open->query_safe(q{BEGIN; INSERT INTO a (id, doc) SELECT 'b/' || g, '{"n": 1}' FROM generate_series(1, 5000) g});
$node->safe_psql('postgres', q{UPDATE a SET doc = doc || '{"again": true}' WHERE id NOT LIKE 'b/%'; SELECT docstore.flush()});
$node->stop('immediate');
$open->{run}->kill_kill;
PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir . '/docstore', "$dir/copy2");
($out, $err) = run_command([ "$dir/reader", "$dir/copy2" ]);
like($out, qr/^\d+ \d+$/, 'a store that was cut short reads cleanly, too') or diag($out);

$node->start;
is($node->safe_psql('postgres', q{SELECT count(*), count(doc->'again') FROM a}), "$documents|$documents", 'the store itself goes on');
$node->stop;
done_testing();
