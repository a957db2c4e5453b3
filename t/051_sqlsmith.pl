# Queries that SQLsmith invents, of whatever the catalog says there is, against foreign tables of all kinds: errors are
# allowed, but nothing crashes, nothing is damaged, and no error is an internal one of ours.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# bench/notes.md says what a long run was; a short one finds what has become worse.
my @seeds = split ' ', $ENV{DOCSTORE_SEEDS} || '101 102';
my $queries = $ENV{DOCSTORE_QUERIES} || 600;

plan skip_all => 'sqlsmith is not installed' if system('sqlsmith --version >/dev/null 2>&1') != 0;

my $node = PostgreSQL::Test::Cluster->new('sqlsmith');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
log_min_messages = error
log_min_error_statement = panic
log_line_prefix = '%b '
log_statement = none
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
jit = off
});
$node->start;
# SQLsmith itself ends a query of its own after a second; what it reads from the catalogs before may take longer.
# Not a superuser: that could crash the server, and stop it, by what PostgreSQL itself has.
$node->safe_psql('postgres', q{
	SET allow_system_table_mods = on;
	ALTER TABLE pg_proc SET (parallel_workers = 0); -- SQLsmith asks it once for each function
	CREATE ROLE smith LOGIN;
	CREATE EXTENSION docstore;
	GRANT ALL ON SCHEMA public TO smith;
	SET ROLE smith;
	SELECT docstore.create_collection('people'), docstore.create_collection('orders', create_table => false),
		docstore.create_collection('parts', create_table => false);
	CREATE FOREIGN TABLE orders (id text COLLATE "C" NOT NULL, doc jsonb, etag bigint, modified timestamptz, n int,
		price numeric OPTIONS (path 'totals.price'), tags text[], placed timestamptz OPTIONS (path 'at'), flag boolean,
		note varchar(20) CHECK (length(note) < 15)) SERVER docstore OPTIONS (collection 'orders', on_mismatch 'null');
	CREATE TABLE places (id text COLLATE "C", n int, doc jsonb) PARTITION BY RANGE (id);
	CREATE FOREIGN TABLE places_a PARTITION OF places FOR VALUES FROM ('a') TO ('m') SERVER docstore OPTIONS (collection 'parts');
	CREATE TABLE places_m PARTITION OF places FOR VALUES FROM ('m') TO ('z');
	CREATE TABLE heap (id text COLLATE "C" PRIMARY KEY, n int, doc jsonb);
	INSERT INTO people SELECT 'p' || g, jsonb_build_object('n', g, 'name', md5(g::text)) FROM generate_series(1, 500) g;
	INSERT INTO orders (id, doc) SELECT 'o' || g, jsonb_build_object('n', g, 'totals', jsonb_build_object('price', g * 1.5),
		'tags', jsonb_build_array('a', g), 'at', '2024-01-01'::date + g, 'flag', g % 2 = 0, 'note', 'n' || g) FROM generate_series(1, 500) g;
	INSERT INTO places SELECT chr(97 + g % 25) || g, g, '{}' FROM generate_series(1, 200) g;
	INSERT INTO heap SELECT id, n, doc FROM orders;
	CREATE VIEW barrier WITH (security_barrier) AS SELECT id, n, doc FROM orders WHERE flag;
	SELECT docstore.create_view('by_n', $$ SELECT (doc->>'n')::int AS n, doc->>'note' AS note FROM docs $$, '{orders}', 'n DESC');
	RESET ROLE;
	ANALYZE});
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $target = 'host=' . $node->host . ' port=' . $node->port . ' user=smith dbname=postgres';

foreach my $seed (@seeds)
{
	my ($out, $err) = ('', '');
	my $ended = IPC::Run::run([ 'sqlsmith', "--target=$target", "--seed=$seed", "--max-queries=$queries", '--exclude-catalog' ],
		'>', \$out, '2>', \$err, IPC::Run::timeout(300));
	ok($ended, "seed $seed: $queries queries") or diag(substr($err, -2000));
}

my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal|PANIC|TRAP/, 'no process crashed');
my @internal = grep { /^client backend ERROR/ && /lsm_|docstore|is damaged|too old to look up|could not find the junk|tuple concurrently/ } split /\n/, $log;
# What the wrapper says to a user is not internal.
@internal = grep { !/collection|view|consumer|foreign table|permission denied|document/ } @internal;
is("@internal", '', 'no internal error of ours');
cmp_ok(scalar(() = $log =~ /client backend ERROR/g), '<', 0.9 * $queries * @seeds, 'and many of the queries ran');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server did not start again');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
