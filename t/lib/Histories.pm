# Random histories of two collections, a and b, for what follows changes: documents put, changed, deleted, kept out by ROLLBACK and
# ROLLBACK TO, many at a time and all at once. They are made by rand(), so srand() repeats them.
package Histories;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT = qw(history);
our @EXPORT_OK = qw(background);
use IPC::Run qw(start);

# Fields that may be missing: tags (of 6), k (of 5), n (a number), m (a number, or text that is none).
sub _document
{
	my @tags = map { '"t' . int(rand(6)) . '"' } 1 .. int(rand(4));
	my @parts = ('"tags": [' . join(', ', @tags) . ']', '"pad": "' . ('x' x int(rand(400))) . '"');
	push @parts, '"k": "k' . int(rand(5)) . '"' if rand() < 0.7;
	push @parts, '"n": ' . int(rand(100)) if rand() < 0.8;
	push @parts, '"m": ' . (rand() < 0.3 ? '"no number"' : int(rand(10))) if rand() < 0.8;
	return "'{" . join(', ', @parts) . "}'";
}

sub _statement
{
	my $collection = rand() < 0.6 ? 'a' : 'b';
	my $id = 'd' . int(rand(60));
	my $what = rand();
	return "SELECT docstore.put('$collection', '$id', " . _document() . ");" if $what < 0.5;
	return "DELETE FROM $collection WHERE id = '$id';" if $what < 0.65;
	return "UPDATE $collection SET doc = doc || " . _document() . " WHERE id LIKE 'd" . int(rand(6)) . "%';" if $what < 0.8;
	return "UPDATE $collection SET doc = doc - 'k' - 'm' WHERE id = '$id';" if $what < 0.9;
	return "INSERT INTO $collection SELECT '$id/' || g, " . _document() . " FROM generate_series(1, 20) AS g ON CONFLICT DO NOTHING;" if $what < 0.95;
	return "DELETE FROM $collection WHERE id LIKE '%/%';" if $what < 0.985;
	return "TRUNCATE $collection;";
}

# SQL of so many transactions of one to four statements.
sub history
{
	my ($transactions) = @_;
	my $sql = '';
	for (1 .. $transactions)
	{
		$sql .= "BEGIN;\n";
		for (1 .. 1 + int(rand(4)))
		{
			my $savepoint = rand() < 0.2;
			$sql .= "SAVEPOINT s;\n" if $savepoint;
			$sql .= _statement() . "\n";
			$sql .= "ROLLBACK TO s;\n" if $savepoint;
		}
		$sql .= rand() < 0.15 ? "ROLLBACK;\n" : "COMMIT;\n";
	}
	return $sql;
}

# Starts a program, which finishes what it does: {handle}, {out} and {err} of it.
sub background
{
	my %run = (in => '', out => '', err => '');
	$run{handle} = start([@_], '<', \$run{in}, '>', \$run{out}, '2>', \$run{err});
	return \%run;
}

1;
