# Real document sets with questions and their true answers.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Cwd;
use Test::More;

my $data = $ENV{DOCSTORE_DATA} || '';
plan skip_all => 'the document sets are not here (DOCSTORE_DATA names their folder)' unless $data ne '' && -f "$data/movies.jsonl.zst";

my $node = PostgreSQL::Test::Cluster->new('data');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'\ndocstore.memtable_size = '1MB'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION docstore');

sub load
{
	my ($name) = @_;
	$node->safe_psql('postgres', "SELECT docstore.create_collection('$name')");
	my $copy = Cwd::abs_path(PostgreSQL::Test::Utils::tempdir) . "/$name.tsv";
	open(my $in, '-|', "zstd -dcq $data/$name.jsonl.zst") or die;
	open(my $out, '>', $copy) or die;
	while (my $line = <$in>)
	{
		chomp $line;
		$line =~ s/\\/\\\\/g;
		print $out "$.\t$line\n";
	}
	close($out);
	close($in);
	# the id within the document becomes the document's
	$node->safe_psql('postgres', "CREATE TABLE raw (n int, doc jsonb); COPY raw FROM '$copy';
		INSERT INTO $name (id, doc) SELECT doc->>'_id', doc FROM raw; DROP TABLE raw");
	unlink $copy;
}

sub answer
{
	my ($file) = @_;
	my $text = slurp_file("$data/expected/$file.csv");
	$text =~ s/\A[^\n]*\n//;
	chomp $text;
	return $text;
}

sub question
{
	my ($file, $sql) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', "COPY ($sql) TO STDOUT WITH (FORMAT csv)", stdout => \$out, stderr => \$err);
	is($out, answer($file), $file) or diag($err);
}

load($_) for qw(debian_packages movies countries cities kev ether_testnet_genesis nyc_restaurants);

question('debian_packages.1_sections', q{SELECT doc->>'section' AS s, count(*), sum((doc->>'installed_size')::bigint), sum((doc->>'size')::bigint)
	FROM debian_packages GROUP BY 1 ORDER BY min(doc->>'section') COLLATE "C"});
question('movies.1_per_decade', q{SELECT (doc->>'year')::int / 10 * 10 AS decade, count(*) FROM movies GROUP BY 1 ORDER BY 1});
question('countries.3_landlocked', q{SELECT id, doc->'name'->>'common', jsonb_array_length(doc->'borders') AS n, doc->'area'
	FROM countries WHERE (doc->>'landlocked')::boolean AND jsonb_array_length(doc->'borders') >= 5 ORDER BY n DESC, id});
question('cities.1_per_country', q{SELECT c.id, c.doc->'name'->>'common', c.doc->>'region', count(t.id) AS n
	FROM countries c LEFT JOIN cities t ON t.doc->>'country' = c.doc->>'cca2' GROUP BY 1, 2, 3 ORDER BY n DESC, c.id});
question('cities.5_northernmost', q{SELECT id, doc->>'name', doc->'lat' FROM cities ORDER BY (doc->>'lat')::numeric DESC, id LIMIT 15});
question('kev.2_months', q{SELECT left(doc->>'dateAdded', 7) AS month, count(*) FROM kev GROUP BY 1 ORDER BY 1});
question('ether_testnet_genesis.1_totals', q{SELECT doc->>'network' AS n, count(*), sum((doc->>'balance_wei')::numeric), max((doc->>'balance_wei')::numeric)
	FROM ether_testnet_genesis GROUP BY 1 ORDER BY 1});
question('nyc_restaurants.1_per_borough', q{SELECT doc->>'borough' AS b, count(*) FROM nyc_restaurants GROUP BY 1 ORDER BY 2 DESC, 1});

# The same after everything was compacted.
$node->safe_psql('postgres', 'SELECT docstore.compact()');
question('movies.1_per_decade', q{SELECT (doc->>'year')::int / 10 * 10 AS decade, count(*) FROM movies GROUP BY 1 ORDER BY 1});
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
