# Clients that move amounts between documents, and between documents and rows, with savepoints and rollbacks; and
# what must hold at any time, and after any crash:
#
#  - the sum of all amounts, in documents and rows, is what it was;
#  - a transaction's document and its row are both there, or neither;
#  - every transaction that was acknowledged with synchronous_commit on or local is there, and none that was rolled back.
package Money;
use strict;
use warnings;
use IPC::Run qw(start);
use PostgreSQL::Test::Utils;
use Test::More;

my $accounts = 40;
my $amount = 100;
my $total = 2 * $accounts * $amount;
my $sum = q{(SELECT sum((doc->>'v')::int) FROM accounts) + (SELECT sum(v) FROM purses)};
my $halves = q{(SELECT count(*) FROM moves m FULL JOIN move_rows r ON r.id = m.id WHERE m.id IS NULL OR r.id IS NULL)};

sub new
{
	my ($class, $node) = @_;
	my $self = bless { node => $node, round => 0, acknowledged => 0, looks => 0, scripts => $node->basedir }, $class;

	$node->safe_psql('postgres', qq{
		CREATE EXTENSION docstore;
		SELECT docstore.create_collection('accounts');
		SELECT docstore.create_collection('moves');
		CREATE TABLE purses (id int PRIMARY KEY, v int);
		CREATE TABLE move_rows (id text PRIMARY KEY);
		INSERT INTO accounts (id, doc) SELECT 'a' || g, jsonb_build_object('v', $amount) FROM generate_series(1, $accounts) g;
		INSERT INTO purses SELECT g, $amount FROM generate_series(1, $accounts) g;
		CREATE SEQUENCE looks;
		CREATE FUNCTION must_be(wanted bigint, have bigint, what text) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			IF have IS DISTINCT FROM wanted THEN RAISE '% is %, not %', what, have, wanted; END IF;
		END \$\$;
	});
	# Two amounts change hands; then a savepoint, which a third of them roll back to; every seventh is rolled back as a whole.
	append_to_file("$self->{scripts}/move.sql", q{
\set n :n + 1
\set a random(1, 40)
\set b random(1, 40)
\set x random(1, 20)
\set what random(1, 9)
\set undone :n % 7
\set back :what % 3
BEGIN;
\if :what < 5
UPDATE accounts SET doc = jsonb_build_object('v', (doc->>'v')::int - :x, 'pad', repeat('x', :x * 20)) WHERE id = 'a' || :a;
UPDATE accounts SET doc = jsonb_build_object('v', (doc->>'v')::int + :x) WHERE id = 'a' || :b;
\elif :what < 8
UPDATE accounts SET doc = jsonb_build_object('v', (doc->>'v')::int - :x) WHERE id = 'a' || :a;
UPDATE purses SET v = v + :x WHERE id = :b;
\else
UPDATE purses SET v = v - :x WHERE id = :b;
WITH gone AS (DELETE FROM accounts WHERE id = 'a' || :a RETURNING id, doc) SELECT (doc->>'v')::int AS had FROM gone \gset
INSERT INTO accounts (id, doc) VALUES ('a' || :a, jsonb_build_object('v', :had + :x));
\endif
SAVEPOINT s;
INSERT INTO moves (id, doc) VALUES (:round || '/s/' || :group || '/' || :client_id || '/' || :n, '{}');
UPDATE accounts SET doc = jsonb_build_object('v', (doc->>'v')::int - 1) WHERE id = 'a' || :a;
\if :back = 0
ROLLBACK TO s;
\else
UPDATE accounts SET doc = jsonb_build_object('v', (doc->>'v')::int + 1) WHERE id = 'a' || :a;
INSERT INTO move_rows VALUES (:round || '/s/' || :group || '/' || :client_id || '/' || :n);
RELEASE s;
\endif
INSERT INTO move_rows VALUES (:round || '/t/' || :group || '/' || :client_id || '/' || :n);
INSERT INTO moves (id, doc) VALUES (:round || '/t/' || :group || '/' || :client_id || '/' || :n, '{}');
\if :undone = 0
ROLLBACK;
\else
COMMIT;
\shell echo :round :group :client_id :n >>} . " $self->{scripts}/acknowledged" . q{
\endif
});
	append_to_file("$self->{scripts}/look.sql", qq{
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT must_be($total, $sum, 'the sum');
SELECT must_be(0, $halves, 'what is there by half');
SELECT must_be($total, $sum, 'the sum, once more');
COMMIT;
SELECT nextval('looks');
});
	append_to_file("$self->{scripts}/flush.sql", "SELECT docstore.flush();\n");
	return $self;
}

sub _pgbench
{
	my ($self, $script, $clients, $group, $options) = @_;
	my $node = $self->{node};
	my $errors = '';
	local $ENV{PGOPTIONS} = $options;
	my $handle = start([ 'pgbench', '-n', '-f', "$self->{scripts}/$script", '-c', $clients, '-T', '600', '-D', 'n=0', '-D', "round=$self->{round}",
		'-D', "group=$group", '-h', $node->host, '-p', $node->port, 'postgres' ], '>', '/dev/null', '2>', \$errors);
	push @{ $self->{running} }, [ $handle, \$errors ];
}

# Starts clients, with flush => 1 one that flushes all the time; returns when there have been so many commits since.
sub run
{
	my ($self, $commits, %how) = @_;
	$self->{round}++;
	unlink "$self->{scripts}/acknowledged";
	$self->{running} = [];
	$self->_pgbench('move.sql', 3, 1, '-c synchronous_commit=on');
	$self->_pgbench('move.sql', 1, 2, '-c synchronous_commit=local');
	$self->_pgbench('move.sql', 2, 3, '-c synchronous_commit=off');
	$self->_pgbench('look.sql', 1, 4, '');
	$self->_pgbench('flush.sql', 1, 5, '') if $how{flush};
	$self->wait($commits);
}

# Waits for so many commits since the round began.
sub wait
{
	my ($self, $commits) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (-e "$self->{scripts}/acknowledged" && (slurp_file("$self->{scripts}/acknowledged") =~ tr/\n//) >= $commits)
	{
		my @ended = grep { !eval { $_->[0]->pump_nb; 1 } } @{ $self->{running} };
		die 'no progress: ' . join("\n", map { ${ $_->[1] } } @{ $self->{running} }) if @ended || time > $deadline;
		select undef, undef, undef, 0.01;
	}
}

# After the crash, the server runs again: is everything as it must be?
sub check
{
	my ($self, $name) = @_;
	my $node = $self->{node};
	for my $client (@{ $self->{running} })
	{
		eval { $client->[0]->finish };
		# What the clients met before; that the server went away is no news.
		fail("$name: a client met ${ $client->[1] }") if ${ $client->[1] } =~ /ERROR:  (?!deadlock detected)/;
	}
	my ($ret, $out, $err) = $node->psql('postgres', qq{SELECT must_be($total, $sum, 'the sum'), must_be(0, $halves, 'what is there by half')});
	is($err, '', "$name: sums agree, nothing is there by half");
	my %there = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT id FROM moves');
	my @lines = split /\n/, slurp_file("$self->{scripts}/acknowledged");
	my @lost;
	for (@lines)
	{
		my ($round, $group, $client, $n) = split / /;
		push @lost, "$round/t/$group/$client/$n" if $group != 3 && !$there{"$round/t/$group/$client/$n"};
	}
	is("@lost", '', "$name: acknowledged commits are there");
	is(join(' ', grep { m{(\d+)$} && $1 % 7 == 0 } keys %there), '', "$name: what was rolled back is not");
	$self->{acknowledged} += @lines;
	$self->{looks} = $node->safe_psql('postgres', 'SELECT last_value FROM looks');
	$node->safe_psql('postgres', 'BEGIN; DELETE FROM moves; DELETE FROM move_rows; COMMIT');
}

1;
