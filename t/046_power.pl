# The checker over losses of power: WAL and the store's files are cut back to what was synced (t/lib/Disk.pm).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Crashes;

Crashes::crashes(name => 'power', rounds => 20, power => 1, flush => 1, settings => q{
docstore.memtable_size = '256kB'
fsync = on
wal_sync_method = open_datasync
});
