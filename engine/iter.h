/*
 * iter.h - the one iterator interface: blocks, tables, memtables, merges, the store.
 *
 * key and value are plain fields, set by every move and borrowed until the next
 * one, so that reading them costs nothing.  valid is false before the first
 * move, past either end and after an error; status tells the last apart.
 * Below the store's face keys are internal keys (keys.h).
 */
#ifndef LSM_ITER_H
#define LSM_ITER_H

#include "engine/run.h"

typedef struct LsmIter LsmIter;

typedef struct LsmIterOps
{
	void (*seek_first)(LsmIter *it);
	void (*seek_last)(LsmIter *it);
	void (*seek)(LsmIter *it, LsmSlice target); /* first entry >= target */
	void (*next)(LsmIter *it);                  /* only when valid */
	void (*prev)(LsmIter *it);                  /* only when valid */
	void (*close)(LsmIter *it);
	volatile uint8_t *(*hint)(LsmIter *it);                /* optional; see lsm_iter_hint */
	void (*run)(LsmIter *it, LsmRun *run, LsmSlice upper); /* optional; see lsm_iter_run */
} LsmIterOps;

struct LsmIter
{
	const LsmIterOps *ops;
	bool valid;
	bool steady; /* the value lies in the iterator's own memory, whatever becomes of memtables */
	LsmStatus status;
	LsmSlice key;
	LsmSlice value;
	LsmError err;
};

#define lsm_iter_seek_first(it) ((it)->ops->seek_first(it))
#define lsm_iter_seek_last(it) ((it)->ops->seek_last(it))
#define lsm_iter_seek(it, target) ((it)->ops->seek(it, target))
#define lsm_iter_next(it) ((it)->ops->next(it))
#define lsm_iter_prev(it) ((it)->ops->prev(it))
#define lsm_iter_close(it) ((it)->ops->close(it))

/*
 * The byte beside the current version in its memtable, for the outcome of its
 * transaction (LsmVisit has more); NULL when it does not come from a memtable.
 */
static inline volatile uint8_t *
lsm_iter_hint(LsmIter *it)
{
	return it->ops->hint == NULL ? NULL : it->ops->hint(it);
}

/*
 * Only when valid: moves on over the run behind the current entry, up to a user key, if `upper` is not empty.  The run may be empty.
 * Its values are good until the next move.
 */
static inline void
lsm_iter_run(LsmIter *it, LsmRun *run, LsmSlice upper)
{
	run->n = 0;
	if (it->ops->run != NULL)
		it->ops->run(it, run, upper);
}

/* An iterator without entries and with the given status; NULL when out of memory. */
extern LsmIter *lsm_iter_empty(LsmStatus status, const LsmError *err);

/*
 * Merges n iterators over internal keys (merge.h in spirit; lives in merge.c).
 * Owns the children from then on, also when it returns NULL (out of memory).
 * Both directions; changing direction repositions the others.  One child is
 * returned as it is.  Children given earlier win on equal keys.
 */
extern LsmIter *lsm_merge_iter(LsmIter **children, int n);

#endif
