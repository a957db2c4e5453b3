# The checker over many crashes, with memtables as they are by default: what is not in tables comes back from WAL.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Crashes;

Crashes::crashes(name => 'default', rounds => 28, settings => '');
