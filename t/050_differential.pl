# Generated queries and changes over foreign tables and over tables with the same columns and documents: the results are
# the same.  A seed makes the same queries everywhere; DOCSTORE_SEEDS="7 8 9" and DOCSTORE_QUERIES=1000 run others and more.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Cwd;
use Test::More;

my @seeds = split ' ', $ENV{DOCSTORE_SEEDS} || '1 2 3 4';
my $queries = $ENV{DOCSTORE_QUERIES} || 120;
my $documents = 800;
my $data = $ENV{DOCSTORE_DATA} || '';

# Typed columns of each set: name, type, path, the same path for #>>.  The first set is generated.
my %sets = (
	made => [ [ 'n', 'int', 'n', 'n' ], [ 'kind', 'text', 'kind', 'kind' ], [ 'price', 'numeric', 'totals.price', 'totals,price' ],
		[ 'flag', 'boolean', 'flag', 'flag' ], [ 'tag', 'text', 'tags[0]', 'tags,0' ], [ 'big', 'bigint', 'big', 'big' ],
		[ 'odd', 'text', 'totals."a b"', 'totals,a b' ] ],
	movies => [ [ 'title', 'text', 'title', 'title' ], [ 'year', 'int', 'year', 'year' ], [ 'genre', 'text', 'genres[0]', 'genres,0' ],
		[ 'href', 'text', 'href', 'href' ], [ 'star', 'text', 'cast[0]', 'cast,0' ] ],
	nyc_restaurants => [ [ 'name', 'text', 'name', 'name' ], [ 'borough', 'text', 'borough', 'borough' ],
		[ 'street', 'text', 'address.street', 'address,street' ], [ 'score', 'int', 'grades[0].score', 'grades,0,score' ],
		[ 'lon', 'numeric', 'address.coord.coordinates[0]', 'address,coord,coordinates,0' ] ],
	countries => [ [ 'common', 'text', 'name.common', 'name,common' ], [ 'region', 'text', 'region', 'region' ],
		[ 'area', 'numeric', 'area', 'area' ], [ 'landlocked', 'boolean', 'landlocked', 'landlocked' ],
		[ 'capital', 'text', 'capital[0]', 'capital,0' ] ],
	tate_artists => [ [ 'fc', 'text', 'fc', 'fc' ], [ 'gender', 'text', 'gender', 'gender' ], [ 'born', 'int', 'birthYear', 'birthYear' ],
		[ 'place', 'text', 'birth.place.name', 'birth,place,name' ], [ 'works', 'int', 'totalWorks', 'totalWorks' ] ]);
my @names = ('made');
push @names, grep { $data ne '' && -f "$data/$_.jsonl.zst" } sort grep { $_ ne 'made' } keys %sets;
diag('the document sets are not here (DOCSTORE_DATA names their folder): generated documents only') if @names == 1;

# ---- the server, the documents ----

my $node = PostgreSQL::Test::Cluster->new('differential');
$node->init(allows_streaming => 1);
# Memtables smaller than any of the sets.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'docstore'\ndocstore.memtable_size = '256kB'\nfsync = off\njit = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION docstore');
my $dir = Cwd::abs_path(PostgreSQL::Test::Utils::tempdir);

# PostgreSQL's own random numbers and Perl's may change; these do not.
my $state;
sub dice { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return int($state / 65536) % shift }
sub pick { return $_[ dice(scalar @_) ] }

sub made_document
{
	my ($i) = @_;
	my @members = (qq("_id":"m/$i"));
	push @members, '"n":' . (dice(200) - 100) if dice(10);
	push @members, '"kind":"k' . dice(7) . '"' if dice(8);
	push @members, '"kind2":null' if !dice(3);
	push @members, '"totals":' . pick('null', '{}', '[]', '{"price":' . dice(1000) . '.' . dice(100) . '}', '{"a b":"' . pick('x', 'y', 'ü') . '","price":"' . dice(50) . '"}');
	push @members, '"flag":' . pick('true', 'false', 'null', '"yes"') if dice(5);
	push @members, '"tags":' . pick('[]', '["a"]', '["b","a"]', '"c"', '[null,"d"]', '[{"x":1}]');
	push @members, '"big":' . dice(1000) * 9007199254741;
	push @members, '"text":"' . ('ä' x dice(300)) . '"' if !dice(4);
	return '{' . join(',', sort { dice(2) <=> 0.5 } @members) . '}';
}

$state = 42;
foreach my $name (@names)
{
	my $file = "$dir/$name.tsv";
	my $in;
	open($in, '-|', "zstd -dcq $data/$name.jsonl.zst 2>/dev/null") or die if $name ne 'made';
	open(my $out, '>', $file) or die;
	for my $i (1 .. $documents)
	{
		my $line = $name eq 'made' ? made_document($i) : <$in>;
		last if !defined $line;
		chomp $line;
		$line =~ /^\{"_id": ?"([^"\\]+)"/ || $line =~ /"_id":"([^"]+)"/ or die "$name: line $i has no plain id";
		my $id = $1;
		$line =~ s/\\/\\\\/g;
		print $out "$id\t$line\n";
	}
	close($out);
	my $fields = join '', map { ", $_->[0] $_->[1] OPTIONS (path '$_->[2]')" } @{ $sets{$name} };
	my $generated = join '', map { ", $_->[0] $_->[1] GENERATED ALWAYS AS ((doc #>> '{$_->[3]}')::$_->[1]) STORED" } @{ $sets{$name} };
	$node->safe_psql('postgres', qq{
		SELECT docstore.create_collection('$name', false);
		CREATE FOREIGN TABLE f_$name (id text COLLATE "C", doc jsonb $fields) SERVER docstore OPTIONS (collection '$name');
		CREATE TABLE h_$name (id text COLLATE "C" PRIMARY KEY, doc jsonb $generated);
		COPY f_$name (id, doc) FROM '$file';
		COPY h_$name (id, doc) FROM '$file';
		ANALYZE f_$name; ANALYZE h_$name;});
}

# What constants are made of: values that are there.
my %values;
foreach my $name (@names)
{
	foreach my $column ([ 'id', 'text' ], @{ $sets{$name} })
	{
		my @found = split /\n/, $node->safe_psql('postgres', qq{
			SELECT quote_literal(v) FROM (SELECT DISTINCT $column->[0]::text AS v FROM h_$name) s WHERE v !~ '[\\n\\\\]' ORDER BY md5(v) LIMIT 20});
		$values{$name}{ $column->[0] } = @found ? \@found : ['NULL'];
	}
}

# ---- queries; ~name~ is a table ----

sub columns { return ([ 'id', 'text' ], @{ $sets{ $_[0] } }) }
sub constant { my ($set, $column) = @_; return pick(@{ $values{$set}{ $column->[0] } }) . "::$column->[1]" }
sub id_of { return pick(@{ $values{ $_[0] }{id} }) }
sub prefix_of { my $id = id_of(shift); return substr($id, 1, 1 + dice(length($id) - 2)) }

sub id_condition
{
	my ($set, $a) = @_;
	my ($x, $y) = sort(id_of($set), id_of($set));
	return pick("$a.id = $x", "$a.id IN ($x, $y, 'nope')", "$a.id BETWEEN $x AND $y", "$a.id > $x", "$a.id <= $x", "$y >= $a.id",
		"$a.id LIKE '" . prefix_of($set) . "%'", "$a.id ^@ '" . prefix_of($set) . "'", "$a.id <> $x", "$a.id IS NULL", "$a.id IS NOT NULL",
		"$a.id = ANY (ARRAY[$x, NULL, $y])", "$a.id <> ALL (ARRAY[$x, $y])", "($a.id, $a.doc) > ($x, '1'::jsonb)", "($a.id, 1) <= ($y, 0)",
		"$a.id > $x AND $a.id < $y", "$a.id = $x OR $a.id > $y", "$a.id = (SELECT max(id) FROM ~$set~ WHERE id < $y)", "NOT $a.id < $x",
		"$a.id = NULL", "$a.id IN (SELECT id FROM ~$set~ WHERE id > $y)", "left($a.id, 2) = left($x, 2)", "$a.id ILIKE '" . prefix_of($set) . "%'");
}

sub condition
{
	my ($set, $a, $depth) = @_;
	return '(' . condition($set, $a, $depth - 1) . pick(' AND ', ' AND ', ' OR ') . condition($set, $a, $depth - 1) . ')' if $depth > 0 && dice(2);
	return 'NOT (' . condition($set, $a, $depth - 1) . ')' if $depth > 0 && !dice(6);
	return id_condition($set, $a) if dice(3) == 0;
	my $column = pick(columns($set));
	my ($name, $type, undef, $path) = @$column;
	my ($x, $y) = (constant($set, $column), constant($set, $column));
	return pick("$a.$name", "$a.$name IS NOT TRUE", "$a.$name = false") if $type eq 'boolean';
	my @some = ("$a.$name = $x", "$a.$name <> $x", "$a.$name < $x", "$a.$name >= $x", "$a.$name BETWEEN $x AND $y", "$a.$name IN ($x, $y)",
		"$a.$name IS NULL", "$a.$name IS NOT NULL", "$a.$name IS DISTINCT FROM $x", "coalesce($a.$name, $x) = $y");
	push @some, "$a.doc ? 'n'", "jsonb_typeof($a.doc) = 'object'", "$a.doc @> '{\"flag\": true}'";
	push @some, "$a.doc #>> '{$path}' = $x" if $type eq 'text' && defined $path;
	push @some, "$a.doc ->> '$path' >= $x", "$a.doc ->> '$path' IS NULL" if $type eq 'text' && defined $path && $path !~ /,/;
	push @some, "$a.$name LIKE '%a%'", "length($a.$name) > 6", "upper($a.$name) = $a.$name" if $type eq 'text';
	push @some, "$a.$name + 1 > $x", "$a.$name % 3 = 1" if $type ne 'text';
	return pick(@some);
}

sub expression
{
	my ($set, $a) = @_;
	my ($name, $type) = @{ pick(columns($set)) };
	return pick("$a.$name", "$a.$name", "$a.$name", "$a.doc", "$a.doc -> 'n'", "coalesce($a.${name}::text, '-')", "$a.$name IS NULL", "length($a.id)",
		$type eq 'text' ? "lower($a.$name)" : $type eq 'boolean' ? "NOT $a.$name" : "$a.$name * 2 + 1",
		"CASE WHEN " . condition($set, $a, 0) . " THEN $a.$name END");
}
sub expressions { my ($set, $a) = @_; my $i = 0; return join ', ', map { expression($set, $a) . ' AS ' . $a . $i++ } 1 .. 1 + dice(4) }

sub aggregate
{
	my ($set, $a) = @_;
	my ($name, $type) = @{ pick(columns($set)) };
	my $filter = dice(4) ? '' : ' FILTER (WHERE ' . condition($set, $a, 0) . ')';
	return "count(*)$filter" if $type eq 'boolean';
	return pick("count($a.$name)", "count(DISTINCT $a.$name)", "min($a.$name)", "max($a.$name)",
		$type eq 'text' ? "string_agg($a.$name, ',' ORDER BY $a.$name, $a.id)" : "sum($a.$name)", "count(*)") . $filter;
}

sub join_condition
{
	my ($one, $a, $two, $b) = @_;
	return "$a.id = $b.id" if $one eq $two && dice(3);
	my @pairs;
	foreach my $x (columns($one)) { foreach my $y (columns($two)) { push @pairs, "$a.$x->[0] = $b.$y->[0]" if $x->[1] eq $y->[1] && $x->[1] ne 'boolean' } }
	return pick(@pairs) . pick('', " AND $a.id < $b.id", " AND $b.id LIKE '%1'");
}

sub simple { my ($set) = @_; return 'SELECT ' . expressions($set, 'a') . " FROM ~$set~ a WHERE " . condition($set, 'a', 2) }

my @kinds = (
	sub { my $s = pick(@names); return simple($s) },
	sub { my $s = pick(@names); return "SELECT * FROM ~$s~ a WHERE " . condition($s, 'a', 2) },
	# whole order: by id at the end
	sub {
		my $s = pick(@names);
		my $c = pick(columns($s));
		my $order = pick('', "a.$c->[0]" . pick('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST') . ', ') . 'a.id' . pick('', ' DESC');
		return 'SELECT row_number() OVER () AS place, s.* FROM (SELECT ' . expressions($s, 'a') . " FROM ~$s~ a WHERE " . condition($s, 'a', 1) .
		  " ORDER BY $order" . pick('', ' LIMIT ' . dice(50), ' OFFSET 3 LIMIT 20') . ') s';
	},
	sub {
		my $s = pick(@names);
		my $c = pick(columns($s));
		return "SELECT a.$c->[0] AS g, " . aggregate($s, 'a') . ' AS x, ' . aggregate($s, 'a') . " AS y FROM ~$s~ a WHERE " . condition($s, 'a', 1) .
		  ' GROUP BY ' . pick('1', '1', 'ROLLUP (1)', "GROUPING SETS ((a.$c->[0]), ())") . pick('', '', ' HAVING count(*) > 2');
	},
	sub { my $s = pick(@names); return 'SELECT ' . join(', ', map { aggregate($s, 'a') . " AS x$_" } 0 .. 2) . " FROM ~$s~ a WHERE " . condition($s, 'a', 1) },
	sub {
		my ($s, $t) = (pick(@names), pick(@names));
		return 'SELECT ' . expressions($s, 'a') . ', ' . expressions($t, 'b') . " FROM ~$s~ a " . pick('JOIN', 'LEFT JOIN', 'FULL JOIN', 'RIGHT JOIN') .
		  " ~$t~ b ON " . join_condition($s, 'a', $t, 'b') . ' WHERE ' . pick(condition($s, 'a', 1), condition($t, 'b', 1));
	},
	# one side a table in both versions
	sub {
		my $s = pick(@names);
		return 'SELECT ' . expressions($s, 'a') . ", k.id AS other FROM h0_$s k " . pick('JOIN', 'LEFT JOIN') . " ~$s~ a ON a.id = k.id WHERE " . condition($s, 'a', 1);
	},
	sub {
		my ($s, $t) = (pick(@names), pick(@names));
		return 'SELECT count(*), ' . aggregate($s, 'a') . ' AS x, ' . aggregate($t, 'b') . " AS y FROM ~$s~ a JOIN ~$t~ b ON " . join_condition($s, 'a', $t, 'b') .
		  " JOIN ~$s~ c ON c.id = a.id WHERE " . condition($s, 'c', 1);
	},
	sub {
		my ($s, $t) = (pick(@names), pick(@names));
		return simple($s) . ' AND ' . pick('', 'NOT ') . "EXISTS (SELECT FROM ~$t~ b WHERE " . join_condition($s, 'a', $t, 'b') . ' AND ' . condition($t, 'b', 0) . ')';
	},
	sub {
		my $s = pick(@names);
		return "SELECT a.id, (SELECT " . aggregate($s, 'b') . " FROM ~$s~ b WHERE b.id " . pick('=', '>', '<=') . " a.id AND " . condition($s, 'b', 0) .
		  ") AS x FROM ~$s~ a WHERE a.id < " . id_of($s) . ' AND ' . condition($s, 'a', 0) . ' ORDER BY a.id LIMIT 30';
	},
	sub {
		my ($s, $t) = (pick(@names), pick(@names));
		return "SELECT a.id, b.* FROM (SELECT * FROM ~$s~ ORDER BY id" . pick('', ' DESC') . " LIMIT 25) a " . pick('JOIN LATERAL', 'LEFT JOIN LATERAL') .
		  " (SELECT x.id AS xid, x.doc FROM ~$t~ x WHERE x.id > a.id AND " . condition($t, 'x', 0) . ' ORDER BY x.id' . pick('', ' DESC') . ' LIMIT 2) b ON true';
	},
	sub { my ($s) = pick(@names); return 'WITH c AS ' . pick('', 'MATERIALIZED ', 'NOT MATERIALIZED ') . '(SELECT * FROM ~' . $s . '~ a WHERE ' . condition($s, 'a', 1) .
		  ') SELECT x.id, y.id AS other FROM c x JOIN c y ON x.id ' . pick('=', '=', '<') . ' y.id ORDER BY 1, 2 LIMIT 200' },
	sub {
		my ($s, $t) = (pick(@names), pick(@names));
		my ($x, $y) = map { my $set = $_; "SELECT a.id, a." . pick(map { $_->[0] } columns($set)) . "::text AS v FROM ~$set~ a WHERE " . condition($set, 'a', 1) } ($s, $t);
		return "$x " . pick('UNION', 'INTERSECT', 'EXCEPT', 'UNION ALL', 'EXCEPT ALL') . " $y";
	},
	sub {
		my $s = pick(@names);
		my $c = pick(columns($s));
		my $w = "(PARTITION BY a.$c->[0] ORDER BY a.id" . pick('', ' DESC') . ')';
		return "SELECT a.id, row_number() OVER $w AS r, " . pick('lag', 'lead') . "(a.id) OVER $w AS l, count(*) OVER (ORDER BY a.id) AS c FROM ~$s~ a WHERE " . condition($s, 'a', 1);
	},
	sub { my $s = pick(@names); my $c = pick(columns($s)); return "SELECT DISTINCT ON (a.$c->[0]) a.$c->[0] AS g, a.id FROM ~$s~ a WHERE " . condition($s, 'a', 1) . " ORDER BY a.$c->[0], a.id" . pick('', ' DESC') },
	sub {
		my $s = pick(@names);
		return "WITH RECURSIVE r (id, depth) AS (SELECT min(id), 1 FROM ~$s~ UNION ALL SELECT (SELECT min(a.id) FROM ~$s~ a WHERE a.id > r.id AND " .
		  condition($s, 'a', 0) . '), depth + 1 FROM r WHERE depth < 12 AND id IS NOT NULL) SELECT * FROM r';
	},
	sub { my $s = pick(@names); return 'SELECT * FROM (SELECT a.id, a.doc FROM ~' . $s . '~ a WHERE ' . condition($s, 'a', 1) . ' ORDER BY a.id LIMIT 40 FOR ' . pick('UPDATE', 'SHARE', 'KEY SHARE', 'UPDATE SKIP LOCKED') . ') s' },
);

# Changes: pairs for foreign table and table, where a typed column cannot be assigned in a table that generates it.
sub change
{
	my $s = pick(@names);
	my $condition = condition($s, 't', 1);
	my $returning = 'RETURNING t.id, t.' . pick(map { $_->[0] } columns($s)) . ' AS v, t.doc';
	my $number = dice(500);
	# A path of one step, so that it can be set in any object.
	my ($one) = grep { $_->[1] eq 'int' && $_->[2] !~ /[.\[]/ } @{ $sets{$s} };
	my $expression = $one ? pick($number, "coalesce(t.$one->[0], 0) % 50 + $number", "length(t.id)") : undef;
	my @some = (
		"DELETE FROM ~$s~ t WHERE " . id_condition($s, 't') . " AND $condition $returning",
		"DELETE FROM ~$s~ t USING ~$s~ o WHERE o.id = t.id AND " . condition($s, 'o', 0) . " AND length(t.id) % 7 = 3 AND $condition $returning",
		"UPDATE ~$s~ t SET doc = t.doc || '{\"changed\": $number}' WHERE " . id_condition($s, 't') . " $returning",
		"UPDATE ~$s~ t SET doc = t.doc || jsonb_build_object('other', o.id) FROM ~$s~ o WHERE o.id = t.id AND " . condition($s, 'o', 1) . " $returning, o.id AS other",
		"UPDATE ~$s~ t SET id = t.id || '/moved' WHERE " . id_condition($s, 't') . " AND $condition AND t.id NOT LIKE '%/moved' $returning",
		"INSERT INTO ~$s~ AS t (id, doc) SELECT 'new/' || $number || '/' || row_number() OVER (ORDER BY a.id), a.doc FROM ~$s~ a WHERE " . condition($s, 'a', 1) . " $returning",
		"INSERT INTO ~$s~ AS t (id, doc) SELECT id, '{}' FROM ~$s~ a WHERE " . id_condition($s, 'a') . " ON CONFLICT DO NOTHING $returning",
		"INSERT INTO ~$s~ AS t (id, doc) SELECT a.id, '{}' FROM ~$s~ a WHERE " . condition($s, 'a', 1) . " $returning");
	push @some, [ "UPDATE ~$s~ t SET $one->[0] = $expression WHERE $condition $returning",
		"UPDATE ~$s~ t SET doc = jsonb_set(t.doc, '{$one->[3]}', to_jsonb($expression)) WHERE $condition $returning" ],
	  [ "UPDATE ~$s~ t SET $one->[0] = NULL WHERE $condition $returning", "UPDATE ~$s~ t SET doc = t.doc - '$one->[3]' WHERE $condition $returning" ],
	  [ "INSERT INTO ~$s~ AS t (id, $one->[0]) VALUES ('typed/$number', $number) ON CONFLICT DO NOTHING $returning",
		"INSERT INTO ~$s~ AS t (id, doc) VALUES ('typed/$number', '{\"$one->[3]\": $number}') ON CONFLICT DO NOTHING $returning" ] if $one;
	my $change = pick(@some);
	return ($s, ref $change ? @$change : ($change, $change));
}

my @switches = map { "enable_$_" } qw(hashjoin mergejoin nestloop material memoize hashagg sort indexscan seqscan);

# Statements for psql; the results of numbers in the order of the script.
sub script
{
	my ($seed) = @_;
	my (@foreign, @heap, @texts);
	my $both = sub { push @foreign, $_[0]; push @heap, $_[0] };
	my $statement = sub {
		my ($version_f, $version_h) = @_;
		my $n = @texts;
		push @texts, $version_f;
		foreach my $pair ([ \@foreign, $version_f, 'f' ], [ \@heap, $version_h, 'h' ])
		{
			my ($list, $sql, $letter) = @$pair;
			$sql =~ s/~([a-z_]+)~/${letter}_$1/g;
			push @$list, "\\echo Q$n", "$sql;", '\if :ERROR', '\echo error :SQLSTATE', '\endif';
		}
	};
	my $sum = "count(*), md5(string_agg(q::text, '|' ORDER BY q::text COLLATE \"C\"))";

	$state = $seed * 7919 + 17;
	$both->("CREATE TEMP TABLE h0_$_ AS SELECT id FROM h_$_ WHERE length(doc::text) % 3 = 0;") foreach @names;
	$both->('ANALYZE;');
	for my $i (1 .. $queries)
	{
		$both->("SET $_ = off;") foreach grep { !dice(5) } @switches;
		$both->('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET force_parallel_mode = ' . pick('off', 'on') . ';') if !dice(4);
		$both->('SET plan_cache_mode = force_generic_plan;') if !dice(4);
		$both->('SET work_mem = 64;') if !dice(5);
		if (dice(4))
		{
			my $query = pick(@kinds)->();
			my $whole = "SELECT $sum FROM ($query) q";
			if (dice(5)) { $statement->($whole, $whole) }
			else
			{
				$statement->("PREPARE p AS $whole", "PREPARE p AS $whole");
				$statement->('EXECUTE p', 'EXECUTE p') for 1 .. 2;
				$both->('DEALLOCATE ALL;');
			}
		}
		else
		{
			my $undo = dice(3);
			$both->('BEGIN' . pick('', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE') . ';');
			$both->('SAVEPOINT s;');
			my ($set, $f, $h) = change();
			$statement->(map { "WITH q AS ($_) SELECT $sum FROM q" } ($f, $h));
			$both->('\if :ERROR');
			$both->('ROLLBACK TO s;');
			$both->('\endif');
			$both->('ROLLBACK TO s;') if $undo == 0;
			$statement->(map { $_ } ("SELECT $sum FROM ~$set~ q") x 2);
			$both->($undo == 1 ? 'ROLLBACK;' : 'COMMIT;');
			$statement->(map { $_ } ("SELECT $sum FROM ~$set~ q") x 2);
			push @foreign, 'DO $$ BEGIN PERFORM docstore.compact(); END $$;' if !dice(8);
		}
		$both->('RESET ALL;');
	}
	return (\@foreign, \@heap, \@texts);
}

sub run_script
{
	my ($lines) = @_;
	my ($out, $err) = ('', '');
	append_to_file("$dir/script.sql", join("\n", "\\set QUIET on", "\\pset format unaligned", "\\pset tuples_only on", @$lines, ''));
	my $done = IPC::Run::run([ 'psql', '-X', '-d', $node->connstr('postgres'), '-f', "$dir/script.sql" ], '>', \$out, '2>', \$err);
	unlink "$dir/script.sql";
	my @results;
	my $at;
	foreach my $line (split /\n/, $out)
	{
		if ($line =~ /^Q(\d+)$/) { $at = $1; $results[$at] = '' }
		elsif (defined $at) { $results[$at] .= "$line\n" }
	}
	return (\@results, $err);
}

foreach my $seed (@seeds)
{
	my ($foreign, $heap, $texts) = script($seed);
	my ($got, $got_errors) = run_script($foreign);
	my ($expected, $expected_errors) = run_script($heap);
	my ($same, $errors, $rows) = (0, 0, 0);
	is(scalar @$got, scalar @$texts, "seed $seed: the session came to its end") or diag(substr($got_errors, -2000));
	foreach my $n (0 .. $#$texts)
	{
		my ($g, $e) = map { $_->[$n] // 'nothing' } ($got, $expected);
		if ($g eq $e) { $same++ }
		else { diag("seed $seed, statement $n: $texts->[$n]\nforeign table: ${g}table: $e") }
		$errors++ if $e =~ /^error (?!23505)/;
		$rows++ if $e =~ /^[1-9]\d*\|/;
	}
	is($same, scalar @$texts, "seed $seed: " . @$texts . ' statements have the same result');
	# A generator that makes only mistakes, or nothing but empty results, proves nothing.
	cmp_ok($errors, '<', @$texts / 20, "seed $seed: $errors of them errors") or diag(substr($expected_errors, 0, 3000));
	cmp_ok($rows, '>', @$texts / 3, "seed $seed: $rows of them with rows");
}

is($node->safe_psql('postgres', 'SELECT count(*) FROM docstore.verify()'), '0', 'no damage');
$node->stop;
done_testing();
