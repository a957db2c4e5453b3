/*
 * table.h - reading LevelDB's sorted tables.
 *
 * An LsmTable is one process's handle on one file: descriptor, index block and
 * filter in private memory.  Reference-counted, not shared between threads
 * without the caller's lock except for reads.  Every block's checksum is
 * verified when it is read from the file, the filter's and the meta blocks' too.
 */
#ifndef LSM_TABLE_H
#define LSM_TABLE_H

#include "engine/cache.h"
#include "engine/iter.h"
#include "engine/memtable.h" /* LsmVisit */

typedef struct LsmTable LsmTable;

/* What the builder knew; stored in the meta block "docstore.properties". */
typedef struct LsmTableProps
{
	uint64_t entries;
	uint64_t deletions; /* deletions of LevelDB's kind and stamped ones */
	uint64_t raw_bytes; /* keys and values before compression */
	uint64_t min_xid;   /* lowest transaction id of a version not frozen; 0: all frozen */
	uint64_t max_seq;   /* highest sequence within */
	uint64_t min_seq;   /* lowest; 0 if the file is older than that this was kept */
	bool known;         /* false for a file without that meta block (LevelDB's) */
} LsmTableProps;

/* What this thread has read out of tables so far; who wants to know about a piece of work takes the difference. */
typedef struct LsmReadCounts
{
	uint64_t blocks_read;   /* from files */
	uint64_t blocks_cached; /* found in the block cache */
	uint64_t filtered;      /* tables that a lookup's filter ruled out */
} LsmReadCounts;
extern _Thread_local LsmReadCounts lsm_read_counts;

/* cache may be NULL.  `number` names the file (tries .ldb, then .sst) and keys the cache. */
extern LsmStatus lsm_table_open(LsmEnv *env, LsmCache *cache, uint64_t number, uint64_t file_size,
								LsmTable **table, LsmError *err);
extern void lsm_table_ref(LsmTable *table);
extern void lsm_table_unref(LsmTable *table);          /* closes with the last reference */
extern size_t lsm_table_memory(const LsmTable *table); /* bytes of private memory */
extern const LsmTableProps *lsm_table_props(const LsmTable *table);

/*
 * Visits the versions of user_key with sequence <= max_seq, newest first, until
 * visit returns false (*stopped = true) or the key ends.  The filter is asked
 * first; *filtered (may be NULL) tells if it said no.  Slices are borrowed
 * until visit returns.  hint is NULL.
 */
extern LsmStatus lsm_table_get(LsmTable *table, LsmSlice user_key, uint64_t max_seq, LsmVisit visit, void *arg,
							   bool *stopped, bool *filtered, LsmError *err);

/*
 * Holds a reference until closed.  fill_cache: put the blocks it reads into the cache as cold ones.  Blocks that are known to
 * hold none of the wanted sequences are left out.
 */
extern LsmIter *lsm_table_iter(LsmTable *table, bool fill_cache, LsmSeqs wanted);

/* Offset in the file at about which ikey would lie (for sizes of ranges). */
extern uint64_t lsm_table_offset_of(LsmTable *table, LsmSlice ikey);
/* Where the entries end, and filter and index begin. */
extern uint64_t lsm_table_data_end(const LsmTable *table);

/*
 * How closely user keys of [lower, upper) lie, from the block in which lower would lie and the next one; an empty upper is the
 * end.  All 0 if there are none.
 */
typedef struct LsmDensity
{
	uint64_t counted; /* entries of the range in both */
	uint64_t end;     /* where they end in the file */
	bool more;        /* the range may go on there */
	uint64_t entries; /* so many entries ... */
	uint64_t bytes;   /* ... take so many bytes of the file */
} LsmDensity;
extern LsmStatus lsm_table_density(LsmTable *table, LsmSlice lower, LsmSlice upper, LsmDensity *density, LsmError *err);

/* Reads and checks everything: order of keys, checksums, index, filter (no false negative). */
typedef void (*LsmDamage)(void *arg, const LsmError *what);
extern LsmStatus lsm_table_verify(LsmTable *table, LsmDamage damage, void *arg, uint64_t *entries, LsmError *err);
/*
 * The same for a file that lsm_table_open may refuse: a missing file, and damage
 * of footer, index, filter or properties, are reported like any other.
 */
extern LsmStatus lsm_table_verify_file(LsmEnv *env, uint64_t number, uint64_t file_size, LsmDamage damage, void *arg,
									   uint64_t *entries, LsmError *err);

/*
 * For repair and for looking at files: every entry of a table that can be read, in order, until visit fails.  Damage is
 * reported and passed by; with that of footer or index nothing is left to read.
 */
typedef LsmStatus (*LsmTableVisit)(void *arg, LsmSlice ikey, LsmSlice value, LsmError *err);
extern LsmStatus lsm_table_salvage(LsmEnv *env, uint64_t number, LsmDamage damage, void *damage_arg,
								   LsmTableVisit visit, void *arg, LsmError *err);

#endif
