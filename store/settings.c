/*
 * settings.c - the settings, their units, ranges and defaults (docs/settings.md).
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "engine/env_pg.h"
#include "store/stop.h"
#include "store/store.h"

int docstore_memtable_size_kb = 16 * 1024;
int docstore_memtable_slots = 4;
int docstore_block_cache_size_kb = 128 * 1024;
int docstore_table_cache_size_kb = 32 * 1024;
int docstore_compression = LSM_COMPRESS_ZSTD;
int docstore_table_size_kb = 8 * 1024;
int docstore_max_compactions = 1;
int docstore_background_rate_kb = 0;
bool docstore_seek_compaction = false;
int docstore_max_wal_kb = 1024 * 1024;
int docstore_flush_delay_ms = 300 * 1000;
int docstore_view_block_rows = 128;
int docstore_view_wait_ms = 0;
bool docstore_ignore_missing_wal = false;
char *docstore_debug_stop = "";

static const struct config_enum_entry compression_kinds[] = {
	{"none", LSM_COMPRESS_NONE, false},
	{"snappy", LSM_COMPRESS_SNAPPY, false},
	{"zstd", LSM_COMPRESS_ZSTD, false},
	{NULL, 0, false},
};

void
docstore_define_settings(void)
{
	DefineCustomIntVariable("docstore.memtable_size",
							"Size of one memtable, which holds the newest documents until they are flushed.",
							"Values larger than an eighth of it are kept in files until then.",
							&docstore_memtable_size_kb, 16 * 1024, 256, 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.memtable_slots",
							"Number of memtables: one takes writes, the others wait to be flushed.",
							NULL, &docstore_memtable_slots, 4, 2, 16, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.block_cache_size",
							"Shared memory for uncompressed blocks.",
							"Zero leaves caching to the operating system.",
							&docstore_block_cache_size_kb, 128 * 1024, 0, INT_MAX / 2, PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.table_cache_size",
							"Private memory of each process for the indexes and filters of open tables.",
							NULL, &docstore_table_cache_size_kb, 32 * 1024, 1024, INT_MAX / 2, PGC_POSTMASTER,
							GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomEnumVariable("docstore.compression",
							 "Compression of blocks in tables: none, snappy or zstd.",
							 "Files that are there keep theirs until they are compacted.",
							 &docstore_compression, LSM_COMPRESS_ZSTD, compression_kinds, PGC_POSTMASTER, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.table_size",
							"Size of the files that compaction writes.",
							"Level 1 begins the next one at eight times that.",
							&docstore_table_size_kb, 8 * 1024, 64, 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.max_compactions",
							"Compactions that run in the background at the same time, each in a process of its own.",
							NULL, &docstore_max_compactions, 1, 1, LSM_PG_MAX_WORKERS, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.background_rate",
							"Kilobytes a second that compactions may write together; 0 means no limit.",
							NULL, &docstore_background_rate_kb, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("docstore.seek_compaction",
							 "Table files that many lookups search in vain before they come to a deeper one are compacted.",
							 NULL, &docstore_seek_compaction, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.max_wal_retained",
							"Memtables are flushed when they hold back more WAL than this.",
							NULL, &docstore_max_wal_kb, 1024 * 1024, 16 * 1024, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.flush_delay",
							"A memtable that is older than this is flushed, full or not; 0 means never.",
							NULL, &docstore_flush_delay_ms, 300 * 1000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.view_wait",
							"How long a statement that reads views waits until they have what was committed before it; 0: it does not.",
							"It fails when the time is over.",
							&docstore_view_wait_ms, 0, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("docstore.ignore_missing_wal",
							 "Brings the store up without the WAL that it needs, if that is gone.",
							 "Documents that were not yet in tables are lost, and so may be half of a transaction.",
							 &docstore_ignore_missing_wal, false, PGC_SIGHUP, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomIntVariable("docstore.view_block_rows",
							"Rows of a group that a view made from now on reduces in one step; larger groups have a tree of such blocks.",
							NULL, &docstore_view_block_rows, 128, 2, 10000, PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomStringVariable("docstore.debug_stop",
							   "Where a process stops itself, for tests.",
							   NULL, &docstore_debug_stop, "", PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);
	MarkGUCPrefixReserved("docstore");
}
