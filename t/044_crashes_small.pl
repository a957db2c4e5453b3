# The checker over many crashes, with small memtables: flush and compaction happen all the time.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Crashes;

Crashes::crashes(name => 'small', rounds => 28, flush => 1, settings => q{
docstore.memtable_size = '256kB'
});
