# A disk that a test can stop, fill, break, and take the power from: t/disk/disk.c below a server.
package Disk;
use strict;
use warnings;
use FindBin;
use File::Path qw(make_path remove_tree);
use PostgreSQL::Test::Utils;

# Disk->new($node), before the node is first started with ->start.
sub new
{
	my ($class, $node) = @_;
	my $dir = $node->basedir . '/disk';
	make_path("$dir/kept");
	system_or_bail('gcc', '-shared', '-fPIC', '-O1', '-o', "$dir/disk.so", "$FindBin::RealBin/disk/disk.c", '-ldl');
	return bless { node => $node, dir => $dir }, $class;
}

# Starts the server; with fail_ok => 1 it may fail.  Returns if it runs.
sub start
{
	my ($self, %how) = @_;
	local $ENV{DOCSTORE_DISK} = $self->{dir};
	local $ENV{LD_PRELOAD} = "$self->{dir}/disk.so";
	return $self->{node}->start(%how);
}

# What happens from now on: see disk.c.  '' for nothing.
sub rule
{
	my ($self, $rule) = @_;
	unlink "$self->{dir}/count", "$self->{dir}/stopped";
	append_to_file("$self->{dir}/rule.new", $rule);
	rename "$self->{dir}/rule.new", "$self->{dir}/rule" or die $!;
}

# Waits until a rule has stopped or killed a process; returns its id and the operation.
sub stopped
{
	my ($self) = @_;
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		if (-s "$self->{dir}/stopped")
		{
			my ($pid, $operation) = slurp_file("$self->{dir}/stopped") =~ /^(\d+) (.*)$/;
			open(my $fh, '<', "/proc/$pid/stat") or return ($pid, $operation);
			my $line = <$fh> // ') Z ';
			return ($pid, $operation) if $line =~ /\) [TZX] /;
		}
		select undef, undef, undef, 0.01;
	}
	die 'nothing was stopped';
}

sub _inode { return (stat $_[0])[1] }

# Takes the power away: nothing of the server may run any more.  What was synced is there; of the rest, anything.
# (WAL is there as far as it was synced if wal_sync_method is open_datasync: then it is not written otherwise.)
sub cut
{
	my ($self) = @_;
	my $store = $self->{node}->data_dir . '/docstore';
	my (%size, %durable, %current, %path);

	for my $line (-e "$self->{dir}/log" ? split /\n/, slurp_file("$self->{dir}/log") : ())
	{
		my ($what, @words) = split / /, $line;
		if   ($what eq 'sync') { $size{ $words[0] } = $words[1] }
		else                   { %durable = @words }
	}
	$path{ (split '/')[-1] } = $_ for glob("$self->{dir}/kept/*");
	for my $file (glob("$store/*"))
	{
		$current{ (split '/', $file)[-1] } = _inode($file);
		$path{ _inode($file) } = $file;
	}
	remove_tree("$store.new");
	make_path("$store.new", { mode => 0700 });
	my %names = (%durable, %current);
	for my $name (sort keys %names)
	{
		my ($old, $new) = ($durable{$name}, $current{$name});
		my $inode = rand() < 0.5 ? $old : $new;
		$inode = $new if defined $old && defined $new && $old == $new;
		next unless defined $inode;
		my $content = -s $path{$inode} ? slurp_file($path{$inode}) : '';
		my $synced = $size{$inode} // 0;
		my $unsynced = length($content) - $synced;
		my $how = int(rand(4));
		if ($unsynced > 0)
		{
			# nothing of it, all, a part, or a part and zeros
			my $left = $how == 0 ? 0 : $how == 1 ? $unsynced : int(rand($unsynced));
			$content = substr($content, 0, $synced + $left) . ($how == 3 ? "\0" x ($unsynced - $left) : '');
		}
		open(my $fh, '>:raw', "$store.new/$name") or die $!;
		print $fh $content;
		close($fh) or die $!;
	}
	remove_tree($store);
	rename "$store.new", $store or die $!;

	# All of that is durable.
	remove_tree("$self->{dir}/kept");
	make_path("$self->{dir}/kept");
	unlink "$self->{dir}/log";
	my @files = glob("$store/*");
	append_to_file("$self->{dir}/log", join('', map { 'sync ' . _inode($_) . ' ' . (-s $_) . "\n" } @files) .
		join(' ', 'dir', map { (split '/')[-1] . ' ' . _inode($_) } @files) . "\n");
}

1;
