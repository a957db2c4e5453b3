# Replicated rows go on: into foreign tables of another server, which commits apart from ours, and by PostgreSQL's own
# logical replication.  Both end right after any crash.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Histories qw(background);

my $node = PostgreSQL::Test::Cluster->new('near');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '256kB'
restart_after_crash = on
});
$node->start;
my $far = PostgreSQL::Test::Cluster->new('far');
$far->init(allows_streaming => 1);
$far->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub far { return $far->safe_psql('postgres', $_[0]) }

if (sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}) == 0)
{
	plan skip_all => 'postgres_fdw is not installed';
}
far(q{
	CREATE TABLE replaced (id text, line int, tag text);
	CREATE INDEX ON replaced (id);
	CREATE TABLE merged (id text, line int, tag text, PRIMARY KEY (id, line));
	CREATE TABLE near (id text PRIMARY KEY, n int);
});
my ($host, $port) = ($far->host, $far->port);
sql(qq{
	CREATE EXTENSION docstore;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER far;
	CREATE SCHEMA r;
	CREATE FOREIGN TABLE r.replaced (id text, line int, tag text) SERVER far OPTIONS (schema_name 'public', table_name 'replaced');
	CREATE FOREIGN TABLE r.merged (id text, line int, tag text) SERVER far OPTIONS (schema_name 'public', table_name 'merged');
	CREATE TABLE public.near (id text PRIMARY KEY, n int);
	CREATE PUBLICATION near FOR TABLE public.near;
	SELECT docstore.create_collection('a');
});
my $select = q{SELECT ord::int AS line, t AS tag FROM docs, jsonb_array_elements_text(doc->'tags') WITH ORDINALITY AS x(t, ord)};
my ($status, $out, $err) = $node->psql('postgres', q{SELECT docstore.create_replication('log', '{a}',
	'[{"table": "r.replaced", "key": "id", "mode": "insert_only", "select": "SELECT 1 AS line FROM docs"}]')});
like($err, qr/mode "insert_only" is not supported for foreign table/, 'what could come twice is refused');
sql(qq{SELECT docstore.create_replication('replaced', '{a}', \$r\$[{"table": "r.replaced", "key": "id", "select": "$select"}]\$r\$)});
sql(qq{SELECT docstore.create_replication('merged', '{a}', \$r\$[{"table": "r.merged", "key": "id", "mode": "merge", "match": ["line"], "select": "$select"}]\$r\$)});
sql(q{SELECT docstore.create_replication('near', '{a}', '[{"table": "public.near", "key": "id", "mode": "merge", "select": "SELECT (doc->>''n'')::int AS n FROM docs"}]')});
my $near = $node->connstr('postgres');
(my $quoted = $near) =~ s/'/''/g;
far(qq{CREATE SUBSCRIPTION near CONNECTION '$quoted' PUBLICATION near});

my $script = $node->basedir . '/history.sql';
append_to_file($script, q{
\set k random(1, 60)
\set n random(0, 5)
\set what random(1, 10)
\if :what <= 8
SELECT docstore.put('a', 'k' || :k, jsonb_build_object('n', :n, 'tags', (SELECT coalesce(jsonb_agg('t' || i * :n), '[]') FROM generate_series(1, :n) AS i)));
\else
DELETE FROM a WHERE id = 'k' || :k;
\endif
});
for my $round (1 .. 3)
{
	my $run = background('pgbench', '-n', '-c', 2, '-T', 2, '--max-tries=1000', '-f', $script, $near);
	select(undef, undef, undef, 0.5 + rand(1));
	if ($round == 2)
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($round == 3)
	{
		$far->stop('immediate');
		$far->start;
	}
	$run->{handle}->finish;
	for my $name ('replaced', 'merged', 'near')
	{
		# While the other server is away they are stopped, and go on by themselves.
		$node->poll_query_until('postgres', "SELECT state = 'following' FROM docstore.replication_status WHERE name = '$name'") or die "$name is stopped";
		sql("SELECT docstore.wait_for_replication('$name')");
	}
	my $rows = sql("SELECT string_agg(format('%s %s %s', id, line, tag), ',' ORDER BY id COLLATE \"C\", line) FROM a, LATERAL (WITH docs AS (SELECT a.*) $select) AS m");
	is(far('SELECT string_agg(format(\'%s %s %s\', id, line, tag), \',\' ORDER BY id COLLATE "C", line) FROM ' . $_), $rows, "round $round: $_ far away")
		for ('replaced', 'merged');
	my $numbers = sql(q{SELECT string_agg(id || (doc->>'n'), ',' ORDER BY id) FROM a});
	ok($far->poll_query_until('postgres', q{SELECT string_agg(id || n, ',' ORDER BY id COLLATE "C") FROM near}, $numbers), "round $round: by logical replication");
}
far('DROP SUBSCRIPTION near');
$node->stop;
$far->stop;
done_testing();
