# Real document sets with questions and their true answers: JSON Lines packed by zstd, and for each question a CSV file. Their
# folder is named by DOCSTORE_DATA; the project does not contain them, and tests of them are skipped where they are missing.
package DataSets;
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Cwd;
use Test::More;
use Exporter 'import';
our @EXPORT = qw(need_sets load_set question);

my $data = $ENV{DOCSTORE_DATA} || '';

sub need_sets
{
	plan skip_all => 'the document sets are not here (DOCSTORE_DATA names their folder)' unless $data ne '' && -f "$data/movies.jsonl.zst";
}

# COPY of a set into the collection of its name, which is there already; every line begins with {"_id":"...".
sub load_set
{
	my ($node, $name) = @_;
	my $copy = Cwd::abs_path(PostgreSQL::Test::Utils::tempdir) . "/$name.tsv";
	open(my $in, '-|', "zstd -dcq $data/$name.jsonl.zst") or die;
	open(my $out, '>', $copy) or die;
	my $lines = 0;
	while (my $line = <$in>)
	{
		chomp $line;
		$line =~ /^\{"_id": ?"([^"\\]+)"/ or die "$name: line $. has no plain id";
		my $id = $1;
		$line =~ s/\\/\\\\/g;
		print $out "$id\t$line\n";
		$lines++;
	}
	close($out);
	close($in) or die "$name: zstd failed";
	$node->safe_psql('postgres', "COPY $name (id, doc) FROM '$copy'");
	unlink $copy;
	is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE id = doc->>'_id') FROM $name"), "$lines|$lines", "$name: $lines documents");
}

# The rows of a query, in its order, are the known answer.
sub question
{
	my ($node, $file, $sql) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', "COPY ($sql) TO STDOUT WITH (FORMAT csv)", stdout => \$out, stderr => \$err);
	my $answer = slurp_file("$data/expected/$file.csv");
	$answer =~ s/\A[^\n]*\n//;
	chomp $answer;
	is($out, $answer, $file) or diag($err);
}

1;
