# Real document sets with questions and their true answers.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DataSets;
use Test::More;

need_sets();

my $node = PostgreSQL::Test::Cluster->new('data');
$node->init(allows_streaming => 1);
# Memtables smaller than any of the sets.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'\ndocstore.memtable_size = '1MB'\njit = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION docstore');

for my $set (qw(debian_packages movies countries cities cities_admin1 kev ether_testnet_genesis nyc_restaurants tate_artworks tate_artists
	exoplanet_systems peps football_seasons coffee_questions browser_compat browsers))
{
	$node->safe_psql('postgres', "SELECT docstore.create_collection('$set')");
	load_set($node, $set);
}

# Flat fields, numbers and text.
question($node, 'debian_packages.1_sections', q{SELECT doc->>'section' AS s, count(*), sum((doc->>'installed_size')::bigint), sum((doc->>'size')::bigint)
	FROM debian_packages GROUP BY 1 ORDER BY min(doc->>'section') COLLATE "C"});
question($node, 'movies.1_per_decade', q{SELECT (doc->>'year')::int / 10 * 10 AS decade, count(*) FROM movies GROUP BY 1 ORDER BY 1});
question($node, 'cities.5_northernmost', q{SELECT id, doc->>'name', doc->'lat' FROM cities ORDER BY (doc->>'lat')::numeric DESC, id LIMIT 15});
question($node, 'kev.1_vendors', q{SELECT doc->>'vendorProject' COLLATE "C" AS v, count(*) AS n, count(*) FILTER (WHERE doc->>'knownRansomwareCampaignUse' = 'Known')
	FROM kev GROUP BY 1 ORDER BY n DESC, 1 LIMIT 25});
question($node, 'kev.2_months', q{SELECT left(doc->>'dateAdded', 7) AS month, count(*) FROM kev GROUP BY 1 ORDER BY 1});
question($node, 'kev.4_days_to_fix', q{SELECT left(doc->>'dateAdded', 4) AS y, count(*), round(avg((doc->>'dueDate')::date - (doc->>'dateAdded')::date), 4)
	FROM kev GROUP BY 1 ORDER BY 1});
question($node, 'nyc_restaurants.1_per_borough', q{SELECT doc->>'borough' AS b, count(*) FROM nyc_restaurants GROUP BY 1 ORDER BY 2 DESC, 1});

# Exact integers of 28 digits.
question($node, 'ether_testnet_genesis.1_totals', q{SELECT doc->>'network' AS n, count(*), sum((doc->>'balance_wei')::numeric), max((doc->>'balance_wei')::numeric)
	FROM ether_testnet_genesis GROUP BY 1 ORDER BY 1});
question($node, 'ether_testnet_genesis.2_balances', q{SELECT (doc->>'balance_wei')::numeric AS b, count(*) FROM ether_testnet_genesis GROUP BY 1 ORDER BY 1});

# Arrays, objects with varying keys.
question($node, 'debian_packages.4_tags', q{SELECT t COLLATE "C" AS tag, count(*) AS n FROM debian_packages, jsonb_array_elements_text(doc->'tags') t
	GROUP BY 1 ORDER BY n DESC, 1 LIMIT 40});
question($node, 'movies.2_top_cast', q{SELECT name COLLATE "C" AS name, count(DISTINCT id) AS n FROM movies, jsonb_array_elements_text(doc->'cast') name
	GROUP BY 1 ORDER BY n DESC, 1 LIMIT 25});
question($node, 'countries.3_landlocked', q{SELECT id, doc->'name'->>'common', jsonb_array_length(doc->'borders') AS n, doc->'area'
	FROM countries WHERE (doc->>'landlocked')::boolean AND jsonb_array_length(doc->'borders') >= 5 ORDER BY n DESC, id});
question($node, 'nyc_restaurants.3_inspections_per_borough', q{SELECT doc->>'borough' AS b, count(DISTINCT id), count(g), count(g->>'score'), round(avg((g->>'score')::numeric), 4)
	FROM nyc_restaurants LEFT JOIN jsonb_array_elements(doc->'grades') g ON true GROUP BY 1 ORDER BY 1});
question($node, 'coffee_questions.1_tags', q{SELECT t COLLATE "C" AS tag, count(*) AS n, round(avg((doc->>'score')::numeric), 4), sum(jsonb_array_length(doc->'answers'))
	FROM coffee_questions, jsonb_array_elements_text(doc->'tags') t GROUP BY 1 HAVING count(*) >= 3 ORDER BY n DESC, 1});

# At any depth.
question($node, 'exoplanet_systems.1_methods', q{SELECT p->>'discoverymethod' AS m, count(*) AS n
	FROM exoplanet_systems, jsonb_path_query(doc, 'strict $.**.planet[*]') p GROUP BY 1 ORDER BY n DESC, 1});
question($node, 'browser_compat.1_groups', q{SELECT doc->>'group' AS g, count(*), sum((SELECT count(*) FROM jsonb_path_query(doc, 'strict $.**.__compat')))
	FROM browser_compat GROUP BY 1 ORDER BY 1});
question($node, 'tate_artworks.4_subjects', q{SELECT (s->>'id')::bigint AS sid, s->>'name', count(DISTINCT id) AS n
	FROM tate_artworks, jsonb_path_query(doc, 'strict $.subjects.**{0 to last} ? (@.type() == "object" && exists(@.id) && !exists(@.children))', '{}', true) s
	GROUP BY 1, 2 ORDER BY n DESC, 1 LIMIT 30});

# Joins, anti-joins, documents among themselves.
question($node, 'cities.1_per_country', q{SELECT c.id, c.doc->'name'->>'common', c.doc->>'region', count(t.id) AS n
	FROM countries c LEFT JOIN cities t ON t.doc->>'country' = c.doc->>'cca2' GROUP BY 1, 2, 3 ORDER BY n DESC, c.id});
question($node, 'cities.3_france', q{SELECT a.id, a.doc->>'name', count(*) AS n
	FROM cities c JOIN cities_admin1 a ON a.id = 'FR.' || (c.doc->>'admin1') WHERE c.doc->>'country' = 'FR' GROUP BY 1, 2 ORDER BY n DESC, 1});
question($node, 'cities.4_orphans', q{SELECT c.doc->>'country' AS k, count(*) AS n
	FROM cities c WHERE NOT EXISTS (SELECT FROM cities_admin1 a WHERE a.id = (c.doc->>'country') || '.' || (c.doc->>'admin1'))
	GROUP BY 1 ORDER BY n DESC, 1 LIMIT 25});
question($node, 'countries.2_shared_currency', q{SELECT a.id, b.id, currency
	FROM countries a, jsonb_array_elements_text(a.doc->'borders') x, countries b, jsonb_object_keys(a.doc->'currencies') currency
	WHERE b.id = x AND a.id < b.id AND b.doc->'currencies' ? currency ORDER BY a.id, b.id, currency COLLATE "C"});
question($node, 'tate_artworks.2_top_artists', q{SELECT (t.doc->>'id')::bigint AS aid, t.doc->>'fc', count(DISTINCT w.id) AS n
	FROM tate_artworks w, jsonb_array_elements(w.doc->'contributors') c JOIN tate_artists t ON t.doc->'id' = c->'id'
	WHERE c->>'role' = 'artist' GROUP BY 1, 2 ORDER BY n DESC, 1 LIMIT 25});
question($node, 'football_seasons.2_table', q{SELECT team, count(*), count(*) FILTER (WHERE own > other), count(*) FILTER (WHERE own = other), count(*) FILTER (WHERE own < other),
	sum(own), sum(other), sum(CASE WHEN own > other THEN 3 WHEN own = other THEN 1 ELSE 0 END) AS points
	FROM (SELECT m->>'team1' AS team, (m #>> '{score,ft,0}')::int AS own, (m #>> '{score,ft,1}')::int AS other
		  FROM football_seasons, jsonb_array_elements(doc->'matches') m WHERE id = '2022-23/en.1'
		  UNION ALL
		  SELECT m->>'team2', (m #>> '{score,ft,1}')::int, (m #>> '{score,ft,0}')::int
		  FROM football_seasons, jsonb_array_elements(doc->'matches') m WHERE id = '2022-23/en.1') g
	WHERE own IS NOT NULL GROUP BY 1 ORDER BY points DESC, sum(own) - sum(other) DESC, sum(own) DESC, team COLLATE "C"});
question($node, 'peps.4_longest', q{SELECT id, doc->>'title', length(doc->>'body') AS n, length(doc->>'body') - length(replace(doc->>'body', E'\n', ''))
	FROM peps ORDER BY n DESC, id LIMIT 20});

# The same after everything was compacted, and after a restart.
$node->safe_psql('postgres', 'SELECT docstore.compact()');
question($node, 'movies.1_per_decade', q{SELECT (doc->>'year')::int / 10 * 10 AS decade, count(*) FROM movies GROUP BY 1 ORDER BY 1});
$node->restart;
question($node, 'cities.3_france', q{SELECT a.id, a.doc->>'name', count(*) AS n
	FROM cities c JOIN cities_admin1 a ON a.id = 'FR.' || (c.doc->>'admin1') WHERE c.doc->>'country' = 'FR' GROUP BY 1, 2 ORDER BY n DESC, 1});
is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
