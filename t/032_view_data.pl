# Views over real document sets, made before the sets are loaded: questions with their true answers, asked of the views.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DataSets;
use Test::More;

need_sets();

my $node = PostgreSQL::Test::Cluster->new('view_data');
$node->init(allows_streaming => 1);
# Memtables smaller than any of the sets; blocks smaller than any large group.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'docstore'
docstore.memtable_size = '1MB'
docstore.view_block_rows = 50
jit = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION docstore');

# name => [ collections, map, reduce, key, finalize ]
my %views = (
	sections => [ 'debian_packages', q{SELECT doc->>'section' AS s, 1::bigint AS n, (doc->>'installed_size')::bigint AS installed, (doc->>'size')::bigint AS size FROM docs},
		q{SELECT s, sum(n)::bigint AS n, sum(installed)::bigint AS installed, sum(size)::bigint AS size FROM results GROUP BY s} ],
	tags => [ 'debian_packages', q{SELECT t AS tag, 1::bigint AS n FROM docs, jsonb_array_elements_text(doc->'tags') t},
		q{SELECT tag, sum(n)::bigint AS n FROM results GROUP BY tag} ],
	decades => [ 'movies', q{SELECT (doc->>'year')::int AS decade, 1::bigint AS films FROM docs},
		q{SELECT decade / 10 * 10 AS decade, sum(films)::bigint AS films FROM results GROUP BY 1} ],
	cast_of => [ 'movies', q{SELECT DISTINCT name, 1::bigint AS n FROM docs, jsonb_array_elements_text(doc->'cast') name},
		q{SELECT name, sum(n)::bigint AS n FROM results GROUP BY name} ],
	vendors => [ 'kev', q{SELECT doc->>'vendorProject' AS v, 1::bigint AS n, (doc->>'knownRansomwareCampaignUse' = 'Known')::int::bigint AS ransom FROM docs},
		q{SELECT v, sum(n)::bigint AS n, sum(ransom)::bigint AS ransom FROM results GROUP BY v} ],
	months => [ 'kev', q{SELECT (doc->>'dateAdded')::date AS month, 1::bigint AS n FROM docs},
		q{SELECT date_trunc('month', month)::date AS month, sum(n)::bigint AS n FROM results GROUP BY 1} ],
	days_to_fix => [ 'kev', q{SELECT left(doc->>'dateAdded', 4) AS y, 1::bigint AS n, ((doc->>'dueDate')::date - (doc->>'dateAdded')::date)::bigint AS days FROM docs},
		q{SELECT y, sum(n)::bigint AS n, sum(days)::bigint AS days FROM results GROUP BY y}, undef, q{SELECT y, n, round(days::numeric / n, 4) AS average FROM results} ],
	boroughs => [ 'nyc_restaurants', q{SELECT doc->>'borough' AS b, 1::bigint AS restaurants, jsonb_array_length(doc->'grades')::bigint AS inspections,
			(SELECT count(g->>'score') FROM jsonb_array_elements(doc->'grades') g) AS scored,
			(SELECT sum((g->>'score')::bigint)::bigint FROM jsonb_array_elements(doc->'grades') g) AS score FROM docs},
		q{SELECT b, sum(restaurants)::bigint AS restaurants, sum(inspections)::bigint AS inspections, sum(scored)::bigint AS scored, sum(score)::bigint AS score FROM results GROUP BY b},
		undef, q{SELECT b, restaurants, inspections, scored, round(score::numeric / scored, 4) AS average FROM results} ],
	totals => [ 'ether_testnet_genesis', q{SELECT doc->>'network' AS network, 1::bigint AS n, (doc->>'balance_wei')::numeric AS sum, (doc->>'balance_wei')::numeric AS max FROM docs},
		q{SELECT network, sum(n)::bigint AS n, sum(sum) AS sum, max(max) AS max FROM results GROUP BY network} ],
	balances => [ 'ether_testnet_genesis', q{SELECT (doc->>'balance_wei')::numeric AS b, 1::bigint AS n FROM docs}, q{SELECT b, sum(n)::bigint AS n FROM results GROUP BY b} ],
	coffee => [ 'coffee_questions', q{SELECT t AS tag, 1::bigint AS n, (doc->>'score')::bigint AS score, jsonb_array_length(doc->'answers')::bigint AS answers
			FROM docs, jsonb_array_elements_text(doc->'tags') t},
		q{SELECT tag, sum(n)::bigint AS n, sum(score)::bigint AS score, sum(answers)::bigint AS answers FROM results GROUP BY tag} ],
	towns => [ 'cities', q{SELECT doc->>'country' AS country, 1::bigint AS n FROM docs}, q{SELECT country, sum(n)::bigint AS n FROM results GROUP BY country} ],
	# a map view, over two collections, and one that finds its rows by latitude
	north => [ 'cities', q{SELECT (doc->>'lat')::numeric AS lat, doc->>'name' AS name, doc->'lat' AS given FROM docs}, undef, 'lat DESC' ],
	planets => [ 'exoplanet_systems', q{SELECT p->>'discoverymethod' AS m, 1::bigint AS n FROM docs, jsonb_path_query(doc, 'strict $.**.planet[*]') p},
		q{SELECT m, sum(n)::bigint AS n FROM results GROUP BY m} ],
);

my @sets = qw(debian_packages movies kev nyc_restaurants ether_testnet_genesis coffee_questions cities exoplanet_systems);
$node->safe_psql('postgres', "SELECT docstore.create_collection('$_')") for @sets, 'countries';
sub quoted { my ($text) = @_; return defined $text ? "\$q\$$text\$q\$" : 'NULL' }
for my $name (sort keys %views)
{
	my ($collections, $map, $reduce, $key, $finalize) = @{ $views{$name} };
	$node->safe_psql('postgres', "SELECT docstore.create_view('$name', " . quoted($map) . ", '{$collections}', " . join(', ', map { quoted($_) } $key, $reduce, $finalize) . ')');
}
load_set($node, $_) for @sets, 'countries';

sub ask
{
	my ($when) = @_;
	$node->safe_psql('postgres', "SELECT docstore.wait_for_view('$_', '200 s')") for sort keys %views;
	question($node, 'debian_packages.1_sections', 'SELECT s, n, installed, size FROM sections ORDER BY s');
	question($node, 'debian_packages.4_tags', 'SELECT tag, n FROM tags ORDER BY n DESC, tag LIMIT 40');
	question($node, 'movies.1_per_decade', 'SELECT decade, films FROM decades ORDER BY decade');
	question($node, 'movies.2_top_cast', 'SELECT name, n FROM cast_of ORDER BY n DESC, name LIMIT 25');
	question($node, 'kev.1_vendors', 'SELECT v, n, ransom FROM vendors ORDER BY n DESC, v LIMIT 25');
	question($node, 'kev.2_months', q{SELECT to_char(month, 'YYYY-MM'), n FROM months ORDER BY month});
	question($node, 'kev.4_days_to_fix', 'SELECT y, n, average FROM days_to_fix ORDER BY y');
	question($node, 'nyc_restaurants.1_per_borough', 'SELECT b, restaurants FROM boroughs ORDER BY restaurants DESC, b');
	question($node, 'nyc_restaurants.3_inspections_per_borough', 'SELECT b, restaurants, inspections, scored, average FROM boroughs ORDER BY b');
	question($node, 'ether_testnet_genesis.1_totals', 'SELECT network, n, sum, max FROM totals ORDER BY network');
	question($node, 'ether_testnet_genesis.2_balances', 'SELECT b, n FROM balances ORDER BY b');
	question($node, 'coffee_questions.1_tags', 'SELECT tag, n, round(score::numeric / n, 4), answers FROM coffee WHERE n >= 3 ORDER BY n DESC, tag');
	question($node, 'cities.1_per_country', q{SELECT c.id, c.doc->'name'->>'common', c.doc->>'region', coalesce(t.n, 0) AS n
		FROM countries c LEFT JOIN towns t ON t.country = c.doc->>'cca2' ORDER BY n DESC, c.id});
	question($node, 'cities.5_northernmost', 'SELECT id, name, given FROM north ORDER BY lat DESC, id LIMIT 15');
	question($node, 'exoplanet_systems.1_methods', 'SELECT m, n FROM planets ORDER BY n DESC, m');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.view_errors'), '0', "$when: no errors");
}
ask('made before the documents');

# Some documents change and change back, others go and come again, with a crash in between.
$node->safe_psql('postgres', qq{CREATE TABLE kept_$_ AS SELECT id, doc FROM $_ WHERE hashtext(id) % 10 = 0;
	DELETE FROM $_ WHERE hashtext(id) % 10 = 0; UPDATE $_ SET doc = doc || '{"moved": true}' WHERE hashtext(id) % 10 = 1}) for @sets;
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', qq{INSERT INTO $_ (id, doc) SELECT id, doc FROM kept_$_; UPDATE $_ SET doc = doc - 'moved' WHERE doc ? 'moved'}) for @sets;
ask('after changes and a crash');
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
