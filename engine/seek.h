/*
 * seek.h - files that lookups search in vain again and again (LsmOptions.seek_compaction).
 */
#ifndef LSM_SEEK_H
#define LSM_SEEK_H

#include "engine/handle.h"

/*
 * So many lookups searched a file for nothing: then they have cost what merging it will.  The rule is LevelDB's (allowed_seeks in
 * db/version_set.cc): a seek takes as long as compacting some 40 kB, and 16 kB is on the careful side; a small file gets 100.  LevelDB charges the first file of a lookup, here each but the last is charged, and only for
 * what its filter let through.
 */
#define LSM_SEEK_LEAST 100
#define LSM_SEEK_BYTES (16 << 10)

/* Asks for the file to be merged into the next level.  One at a time; others are forgotten until it is done. */
extern void lsm_seek_note(LsmDb *db, uint64_t number);

static inline bool
lsm_seek_noted(const LsmDb *db)
{
	return atomic_load(&db->shared->seek_file) != 0;
}

/* With the role: what was asked for; *did false if there is nothing, it is not wanted any more, or others merge there just now. */
extern LsmStatus lsm_seek_work(LsmDb *db, bool *did, LsmError *err);

/* The last file that a lookup has searched without an answer; zero-initialise. */
typedef struct LsmSeekCount
{
	LsmFileMeta *file;
	int level;
} LsmSeekCount;

/*
 * A lookup searches one more file, past its filter: so the one before was in vain.  That one lies over something,
 * so it is no file of the deepest level, unless both are of one level: where LevelDB cut between two versions of a key.
 */
static inline void
lsm_seek_count(LsmDb *db, LsmSeekCount *count, int level, LsmFileMeta *file)
{
	LsmFileMeta *before = count->file;

	if (before != NULL && (level == 0 || level > count->level))
	{
		before->vain++;
		if (before->vain > LSM_SEEK_LEAST && before->vain > before->size / LSM_SEEK_BYTES)
		{
			before->vain = 0;
			lsm_seek_note(db, before->number);
		}
	}
	count->file = file;
	count->level = level;
}

#endif
