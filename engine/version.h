/*
 * version.h - which tables exist: sets of files in 7 levels, and the edits that lead from one set to the next.
 *
 * Everything here is private to one handle (one process or thread), so counts
 * of references are plain integers.  A set is immutable once built; a table's
 * description (LsmFileMeta) is shared by all sets that contain it, and carries
 * the handle's open LsmTable while that lies in its table cache.
 *
 * Level 0 is kept newest first (descending file number), its files overlap.  A
 * deeper level is kept in ascending order of keys, its files are disjoint as
 * internal keys; ours never share a user key either (compact.c), LevelDB's may
 * where two files meet.
 */
#ifndef LSM_VERSION_H
#define LSM_VERSION_H

#include "engine/env.h"
#include "engine/keys.h"
#include "engine/table.h"

#define LSM_NUM_LEVELS 7
#define LSM_COMPARATOR_NAME "leveldb.BytewiseComparator"

typedef struct LsmTableCache LsmTableCache;

/* One table file, as the manifest describes it.  The keys' bytes lie behind the struct. */
typedef struct LsmFileMeta
{
	int refs;
	uint64_t number;
	uint64_t size;
	LsmSlice smallest; /* internal keys */
	LsmSlice largest;

	/* What this handle learned when it wrote or opened the file. */
	bool asked; /* props hold what the file says */
	LsmTableProps props;
	uint64_t vain; /* its lookups that searched the file in vain (seek.h) */

	/* table_cache.c */
	LsmTableCache *cache;
	LsmTable *table; /* open, or NULL */
	uint64_t used_tick;
	int cache_index;
} LsmFileMeta;

typedef struct LsmLevel
{
	LsmFileMeta **files;
	int n;
	uint64_t bytes;
} LsmLevel;

typedef struct LsmFiles
{
	int refs;
	LsmLevel levels[LSM_NUM_LEVELS];
} LsmFiles;

/* Of a file whose properties are known. */
static inline LsmSeqs
lsm_file_seqs(const LsmFileMeta *file)
{
	return (LsmSeqs){file->props.min_seq, file->props.max_seq};
}

/* NULL when out of memory; one reference, the caller's. */
extern LsmFileMeta *lsm_file_new(uint64_t number, uint64_t size, LsmSlice smallest, LsmSlice largest);
extern void lsm_file_ref(LsmFileMeta *file);
extern void lsm_file_unref(LsmFileMeta *file);

extern LsmFiles *lsm_files_new(void); /* the empty set */
extern void lsm_files_ref(LsmFiles *files);
extern void lsm_files_unref(LsmFiles *files);

/* In levels >= 1: index of the first file whose largest key is >= ikey (n if none). */
extern int lsm_level_find(const LsmLevel *level, LsmSlice ikey);
/* In levels >= 1: index of the first file whose largest user key is >= key (n if none). */
extern int lsm_level_find_user(const LsmLevel *level, LsmSlice key);
/* Does a file hold any user key of [lower, upper)?  upper.len = 0: no end. */
extern bool lsm_file_overlaps(const LsmFileMeta *file, LsmSlice lower, LsmSlice upper);
/* Nothing but keys of the range. */
extern bool lsm_file_lies_within(const LsmFileMeta *file, LsmSlice lower, LsmSlice upper);

/*
 * In levels >= 1: the files that hold user keys of the closed range [first,
 * last] are [*from, *to); empty when *from == *to.
 */
extern void lsm_level_range(const LsmLevel *level, LsmSlice first, LsmSlice last, int *from, int *to);

/* ---- edits ---- */

typedef struct LsmLevelFile
{
	int level;
	uint64_t number;   /* of a deleted file */
	LsmFileMeta *file; /* an added one, referenced */
} LsmLevelFile;

/* Zero-initialise; lsm_edit_free when done. */
typedef struct LsmEdit
{
	bool has_comparator, has_log_number, has_prev_log_number, has_next_file, has_last_seq;
	uint64_t log_number; /* journal position from which memtables must be rebuilt */
	uint64_t prev_log_number;
	uint64_t next_file;
	uint64_t last_seq;
	LsmLevelFile *deleted;
	int ndeleted, cap_deleted;
	LsmLevelFile *added;
	int nadded, cap_added;
} LsmEdit;

/* false when out of memory.  add takes a reference of its own. */
extern bool lsm_edit_delete(LsmEdit *edit, int level, uint64_t number);
extern bool lsm_edit_add(LsmEdit *edit, int level, LsmFileMeta *file);
extern void lsm_edit_free(LsmEdit *edit);

/* Appends the edit as a manifest's record; false when out of memory. */
extern bool lsm_edit_encode(const LsmEdit *edit, LsmBuf *out);
/* Fills a zeroed edit; name and offset say where the record was, for errors. */
extern LsmStatus lsm_edit_decode(LsmSlice record, LsmEdit *edit, const char *name, uint64_t offset, LsmError *err);

/*
 * Applies edits one after the other.  `known` (may be NULL) is a set whose
 * descriptions are used again for files of the same number, so that open tables
 * stay open when a set is built afresh.
 */
typedef struct LsmFilesBuilder LsmFilesBuilder;
extern LsmFilesBuilder *lsm_files_builder_new(LsmFiles *base, LsmFiles *known); /* base may be NULL; NULL: no memory */
extern LsmStatus lsm_files_builder_apply(LsmFilesBuilder *builder, const LsmEdit *edit, LsmError *err);
/* Sorts, checks that deeper levels are disjoint, gives the set. */
extern LsmStatus lsm_files_builder_finish(LsmFilesBuilder *builder, LsmFiles **files, LsmError *err);
extern void lsm_files_builder_free(LsmFilesBuilder *builder);

#endif
