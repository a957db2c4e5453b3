/*
 * dead.h - stretches of keys where scans meet little but deletions and old versions.
 */
#ifndef LSM_DEAD_H
#define LSM_DEAD_H

#include "engine/handle.h"

/* A scan that passes so many dead entries, and more than twice as many as live ones, says so. */
#define LSM_DEAD_ENOUGH 1000

/* Asks for the space of keys from first to last.  One stretch at a time; others are forgotten until it is done.  No lock held. */
extern void lsm_dead_note(LsmDb *db, LsmSlice first, LsmSlice last);

static inline bool
lsm_dead_noted(const LsmDb *db)
{
	return atomic_load(&db->shared->dead_noted);
}

/* With the role: a part of what was asked for; *did false if there is nothing, or others merge there just now. */
extern LsmStatus lsm_dead_work(LsmDb *db, bool *did, LsmError *err);

/* ---- a scan's count ---- */

typedef struct LsmDeadCount
{
	uint64_t dead;  /* entries passed since `from` that are not for this reader any more */
	uint64_t shown; /* others */
	LsmBuf from;
} LsmDeadCount;

/* One more, after `before` in this move, at key. */
static inline void
lsm_dead_pass(LsmDeadCount *count, uint64_t before, LsmSlice key)
{
	if (before == 0 && count->dead == 0)
		(void) lsm_buf_set(&count->from, key.data, key.len);
}

/* So many were shown, with nothing between them. */
static inline void
lsm_dead_shown(LsmDeadCount *count, int n)
{
	count->shown += (uint64_t) n;
	if (count->shown > count->dead)
		count->dead = count->shown = 0;
}

/* A move has passed so many, and ended at key. */
static inline void
lsm_dead_count(LsmDb *db, LsmDeadCount *count, uint64_t dead, LsmSlice key)
{
	count->dead += dead;
	if (__builtin_expect(count->dead >= LSM_DEAD_ENOUGH, 0) && count->dead > 2 * count->shown)
	{
		LsmSlice from = lsm_buf_slice(&count->from);
		bool ascending = lsm_slice_compare(from, key) <= 0;

		lsm_dead_note(db, ascending ? from : key, ascending ? key : from);
		count->dead = count->shown = 0;
	}
	else if (++count->shown > count->dead)
		count->dead = count->shown = 0;
}

#endif
