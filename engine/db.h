/*
 * db.h - the engine's face: open, write, get, scan, flush and compact, verify.
 *
 * One LsmShared lies in memory that all processes of a store share: memtable
 * arenas, block cache, counters, the epoch, one pin slot per handle.  An LsmDb
 * is one process's (or thread's) handle on it: table cache, the version it last
 * read from the manifest, its pin.  A handle is used by one thread at a time.
 *
 * Epoch and pins.  Whatever changes what a reader must look at (memtable
 * rotated, table installed, compaction installed) raises the epoch.  A reader
 * publishes the epoch it uses in its pin slot for as long as one call lasts.
 * Memtable arenas are reused, and files removed, only when every published
 * epoch is at least the one that retired them.  So readers take no lock, and a
 * process that reads nothing holds nothing back.  The set of files is private
 * to each process: it follows the manifest, reading the tail that was added
 * (LsmShared says how far it is durable).
 */
#ifndef LSM_DB_H
#define LSM_DB_H

#include "engine/batch.h"
#include "engine/cache.h"
#include "engine/env.h"
#include "engine/iter.h"
#include "engine/journal.h"
#include "engine/table_builder.h"
#include "engine/txn.h"

#define LSM_NUM_LEVELS 7

typedef struct LsmShared LsmShared;
typedef struct LsmDb LsmDb;

/* Fixed when the shared memory is made; lsm_options_init gives defaults. */
typedef struct LsmOptions
{
	size_t memtable_size;              /* bytes of one arena; 16 MB */
	int memtable_slots;                /* arenas, at least 2; 3 */
	size_t block_cache_size;           /* bytes; 0: none; 64 MB */
	int max_handles;                   /* pin slots; 64 */
	size_t file_size;                  /* a compaction's output files; 8 MB */
	size_t level1_size;                /* bytes at which level 1, as the deepest, begins the next; level_factor times more a level; 64 MB */
	int level_factor;                  /* 10 */
	int level0_compact;                /* files in level 0 that start a compaction; 4 */
	int level0_slow;                   /* ... that slow writers down; 12 */
	int level0_stop;                   /* ... that stop writers until compacted; 24 */
	size_t manifest_size;              /* rolled when larger; 4 MB */
	size_t log_step;                   /* standalone: a log grows by so many bytes at a time, memtable_size at most; 0: as it is written; 1 MB */
	size_t table_cache_size;           /* bytes of private memory for open tables, per handle; 32 MB */
	LsmTableOptions table;             /* 16 KB blocks, restarts after 16 entries or 512 bytes, 10 bits, zstd level 3; level 0 uses the same unless
							* level0_compression differs */
	LsmCompression level0_compression; /* snappy: flushes must be quick */
	int max_compactions;               /* merges that run in the background at the same time, if so many call lsm_work: 1 to 8; 2 */
	bool seek_compaction;              /* merge files that many lookups search in vain before they come to a deeper one; false */
	bool flush_all_versions;           /* standalone: flushes keep what no snapshot sees, as LevelDB's do; false */
	bool inline_work;                  /* standalone: the writer itself flushes and compacts when due (deterministic) */
} LsmOptions;
extern void lsm_options_init(LsmOptions *options);
/* As init, with what LevelDB does by default, so that files equal its own: 4 KB blocks, snappy, 2 MB files, 4 MB memtable, logs that end with their
 * last record. */
extern void lsm_options_init_leveldb(LsmOptions *options);

extern size_t lsm_shared_size(const LsmOptions *options);
/* Makes mem (64-byte aligned) the shared state of a store that is not recovered yet. */
extern LsmShared *lsm_shared_init(void *mem, const LsmOptions *options);

/* What one handle brings along; env, journal and txn outlive it. */
typedef struct LsmAttach
{
	LsmEnv *env;
	LsmShared *shared;
	LsmJournal *journal;
	const LsmTxnOps *txn; /* NULL: standalone, values without stamps */
	void *txn_ctx;
	int handle;                     /* pin slot, 0 .. max_handles - 1, used by nobody else now */
	bool (*should_stop)(void *arg); /* asked during long work; NULL: never */
	void *stop_arg;
} LsmAttach;
extern LsmStatus lsm_attach(const LsmAttach *attach, LsmDb **db, LsmError *err);
extern void lsm_detach(LsmDb *db);

/*
 * Brings the store up: creates it or reads the manifest, removes leftovers,
 * rebuilds the memtable from the journal (flushing as it fills).  One process;
 * until then the others' calls fail (lsm_ready), after a failure with the kept
 * error.  After a failure it may be tried again, with a new handle.
 */
extern LsmStatus lsm_recover(LsmDb *db, LsmError *err);
/* LSM_OK, LSM_BUSY while recovery is not over, or the kept error. */
extern LsmStatus lsm_ready(LsmDb *db, LsmError *err);

/* Standalone in one call: private shared memory, log journal, attach, recover; lsm_close undoes it all. */
extern LsmStatus lsm_open(LsmEnv *env, const LsmOptions *options, LsmDb **db, LsmError *err);
extern void lsm_close(LsmDb *db);
/* Another handle on the same standalone store, for another thread; lsm_detach ends it. */
extern LsmStatus lsm_open_handle(LsmDb *db, LsmDb **other, LsmError *err);

/* ---- writing ---- */

/*
 * Makes a batch durable as the journal does (sync: standalone only) and puts it
 * into the memtable; *first_seq (may be NULL) is its first record's sequence.
 * LSM_BUSY: no room, nothing was done; call lsm_make_room with no lock held and
 * start over.  (With inline_work it makes room itself.)  Values of stamped stores
 * larger than an eighth of the memtable go through a spill file.
 */
extern LsmStatus lsm_write(LsmDb *db, LsmBatch *batch, bool sync, uint64_t *first_seq, LsmError *err);
/* Puts a batch into the memtable only, not into the journal (row locks). */
extern LsmStatus lsm_write_unlogged(LsmDb *db, LsmBatch *batch, uint64_t *first_seq, LsmError *err);
/* The highest sequence given out so far. */
extern uint64_t lsm_last_sequence(LsmDb *db);
/* Waits, without a lock, until `cost` bytes fit: rotates the memtable or waits for the flush.  Cheap when there is room.
 * LSM_INTERRUPTED, or the reason why there never will be room. */
extern LsmStatus lsm_make_room(LsmDb *db, size_t cost, LsmError *err);
/* After a write of `cost` bytes, without a lock: sleeps, up to a tenth of a second, while compaction is behind.
 * Standalone lsm_write does that itself. */
extern void lsm_throttle(LsmDb *db, size_t cost);

/* ---- reading ---- */

typedef struct LsmVersion
{
	uint64_t seq;
	LsmStamp stamp; /* zero when standalone or frozen; flags has LSM_STAMP_DELETE for deletions of both kinds */
	/* of lsm_get and scans that go forward: while the active memtable has this generation, it alone may hold a newer
	 * version or lock of the key; 0: not known */
	uint64_t generation;
} LsmVersion;

/*
 * The version of key that `read` sees: LSM_OK and its payload (value is reused
 * storage of the caller's), LSM_NOT_FOUND if none or deleted.
 */
extern LsmStatus lsm_get(LsmDb *db, const LsmRead *read, LsmSlice key, LsmBuf *value, LsmVersion *version,
						 LsmError *err);

/* For writers: all versions of a key, locks too, newest first, until visit returns false.  visit must not throw. */
typedef bool (*LsmVersionVisit)(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint);
typedef struct LsmMark
{
	uint64_t generation; /* of the active memtable */
	uint64_t newest_seq; /* of the key, locks included; 0: none */
	uint64_t entries;    /* of that memtable, before it was looked at */
} LsmMark;
extern LsmStatus lsm_versions(LsmDb *db, LsmSlice key, LsmVersionVisit visit, void *arg, LsmMark *mark,
							  LsmError *err);
/*
 * The same for who has read `known` of this key: where that tells that no table need
 * be looked at, none is, and `known` comes last, without a payload (data is NULL).
 */
extern LsmStatus lsm_versions_known(LsmDb *db, LsmSlice key, const LsmVersion *known, LsmVersionVisit visit, void *arg,
									LsmMark *mark, LsmError *err);
/*
 * With the key's stripe lock held: LSM_OK if nothing was written to the key
 * since lsm_versions made the mark, LSM_BUSY to start over (something was, or the
 * memtable was rotated).  Looks at the active memtable only.
 */
extern LsmStatus lsm_recheck(LsmDb *db, LsmSlice key, const LsmMark *mark, LsmError *err);
/*
 * With the key's stripe lock held, after lsm_recheck: later looks at the key step
 * over versions in the active memtable that nobody needs any more, that is whose
 * transaction is known to be over, aborted or a lock's (hint says so).
 */
extern void lsm_step_over(LsmDb *db, LsmSlice key, const LsmMark *mark, bool (*dead)(const LsmStamp *stamp, uint8_t hint));
/* The stripe lock's id for a key. */
extern int lsm_stripe(LsmSlice key);

/*
 * A scan over [lower, upper) (upper.len = 0: no end) in either direction.  Fields
 * are set by every move.  They are borrowed until lsm_scan_release (steady ones until close) or the next
 * move; release lets go of the pin, and the next move repositions by itself if
 * the store has changed meanwhile.  No user code runs between a move and release.
 */
typedef struct LsmScan
{
	bool valid;
	bool steady; /* key and value lie in memory of the scan's own */
	LsmStatus status;
	LsmSlice key;   /* user key */
	LsmSlice value; /* payload */
	LsmVersion version;
	LsmError err;
} LsmScan;
extern LsmStatus lsm_scan_open(LsmDb *db, const LsmRead *read, LsmSlice lower, LsmSlice upper, LsmScan **scan,
							   LsmError *err);
/*
 * Before the first move: files and blocks that hold none of these sequences are left out, as far as they can be.  What has
 * others is then not wanted: it may come or not, and be out of date.
 */
extern void lsm_scan_want(LsmScan *scan, LsmSeqs wanted);
extern void lsm_scan_first(LsmScan *scan);
extern void lsm_scan_last(LsmScan *scan);
extern void lsm_scan_seek(LsmScan *scan, LsmSlice key);      /* first key >= key, within the range */
extern void lsm_scan_seek_last(LsmScan *scan, LsmSlice key); /* last key <= key, within the range */
extern void lsm_scan_next(LsmScan *scan);
extern void lsm_scan_prev(LsmScan *scan);
/*
 * After a move forward: the shown entry and those behind it in its run (run.h), all at once; the scan moves on to the last of
 * them.  Returns how many, 0 if the entry is in no run.  They are good until the next move, or close.
 */
extern int lsm_scan_take_run(LsmScan *scan, const LsmRunEntry **entries);
extern void lsm_scan_release(LsmScan *scan);
extern void lsm_scan_close(LsmScan *scan);
/* After an error was thrown past this handle's calls: drops whatever pin it still holds. */
extern void lsm_unpin_all(LsmDb *db);

/* Standalone snapshots: sequences that compaction respects. */
extern uint64_t lsm_snapshot_take(LsmDb *db);
extern void lsm_snapshot_release(LsmDb *db, uint64_t seq);

/*
 * Estimates for [lower, upper) from file metadata: bytes on disk, entries; cheap.  Of the files that a scan reads that wants
 * these sequences (lsm_scan_want), and of what is in memory those that are wanted.
 */
extern LsmStatus lsm_range_stats(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, uint64_t *bytes,
								 uint64_t *entries, LsmError *err);
/* What such a scan has to look at: the entries of those files, and all in memory. */
extern LsmStatus lsm_range_reads(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, uint64_t *entries, LsmError *err);
/* The bytes of a range that lie in tables. */
extern LsmStatus lsm_range_table_bytes(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t *bytes, LsmError *err);

/*
 * Cuts [lower, upper) into at most `parts` parts of about the same size on disk,
 * as far as files can tell: *cuts keys within the range, ascending, go to keys
 * (storage that is used again), from where lsm_split_next takes one after the other.
 */
extern LsmStatus lsm_range_split(LsmDb *db, LsmSlice lower, LsmSlice upper, int parts, LsmBuf *keys, int *cuts,
								 LsmError *err);
/* The first key of what lsm_range_split made, which borrows from it and goes on behind that key. */
extern LsmSlice lsm_split_next(LsmSlice *keys);

/* ---- background work ---- */

/*
 * One piece of work if any is due: a flush, else a compaction (which stops for flushes).  Several threads or processes
 * may call it again and again: their compactions run at the same time where they have nothing in common.
 */
extern LsmStatus lsm_work(LsmDb *db, bool *did_work, LsmError *err);
/* Rotates the active memtable if it holds anything, and flushes everything. */
extern LsmStatus lsm_flush(LsmDb *db, LsmError *err);
/* Compacts all files that overlap [lower, upper) down to the deepest level that holds any of it. */
extern LsmStatus lsm_compact_range(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmError *err);
/*
 * Stamped stores: gives back the space of [lower, upper), every key of which is dead (LsmTxnOps.dead says so, and to
 * flushes and compactions, too).  Files that hold nothing else go without being read; the others are written afresh
 * without it.  *bytes (may be NULL): of the files that went.  LSM_BUSY if somebody else works on a range: to be tried
 * again later.
 */
extern LsmStatus lsm_drop_range(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t *bytes, LsmError *err);
/* For the compactor's loop: rotate the memtable if journal positions behind `position` are only in it (WAL distance, age). */
extern LsmStatus lsm_rotate_if_older(LsmDb *db, uint64_t position, LsmError *err);
/*
 * Settles what holds ids of transactions below oldest_xid, before their outcomes can no longer be looked up: flushes
 * such memtables, rewrites such files.  *rewritten (may be NULL) counts files.  An id still running keeps its version.
 * LSM_BUSY as lsm_drop_range.
 */
extern LsmStatus lsm_settle(LsmDb *db, uint64_t oldest_xid, uint64_t *rewritten, LsmError *err);
/* Bytes a second that compactions may write; 0: no limit.  Kept in shared memory. */
extern void lsm_set_rate(LsmDb *db, uint64_t bytes_per_second);

/* ---- looking ---- */

typedef struct LsmLevelStats
{
	int files;
	uint64_t bytes;
	uint64_t entries;
} LsmLevelStats;
typedef struct LsmStats
{
	LsmLevelStats levels[LSM_NUM_LEVELS];
	uint64_t last_seq;
	uint64_t epoch;
	uint64_t memtable_used; /* bytes in the active one */
	uint64_t memtable_size;
	int memtables_waiting;     /* to be flushed */
	uint64_t journal_position; /* oldest position still needed */
	uint64_t compaction_debt;  /* bytes that levels hold above their targets */
	uint64_t flushes, compactions, bytes_flushed, bytes_compacted, bytes_written;
	uint64_t seek_compactions; /* of the compactions, those that lookups asked for */
	uint64_t stalls, stall_us; /* writers that waited for room */
	LsmCacheStats cache;
	bool went_back;      /* recovery found a copy and took an earlier state of its files */
	LsmError last_error; /* of background work; status LSM_OK: none */
} LsmStats;
extern LsmStatus lsm_stats(LsmDb *db, LsmStats *stats, LsmError *err);

/* The merges that run at the moment, of everybody. */
typedef struct LsmMerge
{
	int handle; /* whose it is */
	int level;
	int output_level;
	int files;      /* that it reads */
	uint64_t bytes; /* likewise */
	uint64_t passed_us;
	uint64_t takes_us; /* altogether, as far as it can tell */
} LsmMerge;
#define LSM_MAX_MERGES 9
/* Returns how many there are. */
extern int lsm_merges(LsmDb *db, LsmMerge merges[LSM_MAX_MERGES]);

/* As in LsmStats, but cheap: opens no file. */
typedef struct LsmMemtables
{
	uint64_t journal_position;
	int waiting; /* to be flushed */
	bool empty;  /* all of them */
} LsmMemtables;
extern LsmStatus lsm_memtables(LsmDb *db, LsmMemtables *state, LsmError *err);

/*
 * Reads every live file whole and reports each damage; LSM_OK also when damage was reported.  progress (may be NULL, as damage)
 * is told after each file how many of all bytes are read.
 */
typedef void (*LsmProgress)(void *arg, uint64_t done, uint64_t total);
extern LsmStatus lsm_verify(LsmDb *db, LsmDamage damage, LsmProgress progress, void *arg, uint64_t *files, uint64_t *entries,
							LsmError *err);

#endif
