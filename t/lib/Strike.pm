# Killing processes of a server, and starting it again.
package Strike;
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Exporter 'import';
our @EXPORT = qw(children kill_process kill_and_recover kill_server start_again is_stopped wait_for_store);

sub _state
{
	my ($pid) = @_;
	return 'gone' unless open(my $fh, '<', "/proc/$pid/stat");
	my $line = <$fh> // '';
	return $line =~ /\) (\S) / ? $1 : 'gone';
}

sub is_stopped { return _state($_[0]) eq 'T' }

# Until nothing is left of them, for a postmaster that is dead and only not yet buried by init keeps the next from starting.
sub _wait_gone
{
	for my $pid (@_)
	{
		for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
		{
			last if _state($pid) eq 'gone';
			select undef, undef, undef, 0.01;
		}
		die "process $pid does not end" unless _state($pid) =~ /^(gone|Z|X)$/;
	}
}

# Never an empty pid: that would be our own process group.
sub kill_process
{
	my ($pid) = @_;
	die "'$pid' is no process" unless $pid =~ /^[1-9]\d*$/;
	kill 'KILL', $pid;
	_wait_gone($pid);
}

# A process of a server with restart_after_crash; an empty pid means that it is not there just now.  Comes back when the server has
# noticed and started over.
sub kill_and_recover
{
	my ($node, $pid) = @_;
	return if $pid eq '';
	my $seen = -s $node->logfile;
	kill_process($pid);
	$node->wait_for_log(qr/\(PID $pid\) (was terminated by signal 9|exited)/, $seen);
	wait_for_store($node);
}

# Process ids of the postmaster's children.
sub children
{
	my ($node) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @children;
	for my $file (glob('/proc/[0-9]*/stat'))
	{
		next unless open(my $fh, '<', $file);
		my $line = <$fh> // '';
		push @children, $1 if $line =~ /^(\d+) .*\) \S (\d+) / && $2 == $postmaster;
	}
	return \@children;
}

# The postmaster and all of its children, as if the machine had stopped.
sub kill_server
{
	my ($node) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	# Stopped, it starts nobody while we look.
	kill 'STOP', $postmaster;
	my @children = @{ children($node) };
	kill 'KILL', $_ for @children;
	$node->kill9;
	_wait_gone($postmaster, @children);
}

# After a crash: children of a postmaster that is gone may have to end first.  $start starts it (with fail_ok => 1).
sub start_again
{
	my ($node, $start) = @_;
	$start //= sub { $node->start(@_) };
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $start->(fail_ok => 1);
		select undef, undef, undef, 0.1;
		$node->stop('fast', fail_ok => 1);
	}
	die 'the server did not start';
}

# While a server starts over it refuses connections, and psql may end before it has read what it was to do.
sub wait_for_store
{
	my ($node) = @_;
	for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my ($ret, $out) = eval { $node->psql('postgres', 'SELECT state FROM docstore.status') };
		return if ($out // '') eq 'running';
		select undef, undef, undef, 0.05;
	}
	die 'the store did not recover';
}

1;
