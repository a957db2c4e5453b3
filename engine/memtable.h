/*
 * memtable.h - newest versions in memory: a concurrent skiplist in an arena.
 *
 * Lies in shared memory that each process may map elsewhere: offsets (32 bits)
 * instead of pointers.  Writers insert concurrently without a lock (compare and
 * swap); readers need none.  Nothing is ever removed: the whole memtable goes
 * when its contents are in a table.
 */
#ifndef LSM_MEMTABLE_H
#define LSM_MEMTABLE_H

#include "engine/iter.h"
#include "engine/keys.h"

#define LSM_MEM_LEVELS 14

typedef struct LsmMemtable LsmMemtable; /* first bytes of the arena */

/*
 * Where one thread last was in one memtable, on each level.  A key that comes soon after is found from there in a step or two,
 * so keys in order cost little.  All zeros: nowhere yet.
 */
typedef struct LsmMemFinger
{
	uint32_t at[LSM_MEM_LEVELS];
	uint32_t misses; /* in a row: it is asked less often then */
} LsmMemFinger;

/* Room set aside for one batch; one thread fills it. */
typedef struct LsmMemRoom
{
	uint32_t start;
	uint32_t next;
	uint32_t end;
	uint32_t added; /* entries so far */
	uint32_t paid;  /* so many of them take the towers that they drew, not what is spared */
	int32_t spare;  /* bytes that later entries may take beyond their cost, for taller towers */
	LsmMemFinger finger;
} LsmMemRoom;

/* Makes `mem` (size bytes, 64-byte aligned, at most 4 GB - 1) an empty memtable, which takes up to a 64th of it and some 100 bytes. */
extern LsmMemtable *lsm_memtable_init(void *mem, size_t size);

/*
 * Bytes to set aside for one entry.  The cost of a batch is the sum over its
 * entries.
 */
extern size_t lsm_memtable_cost(size_t user_key_len, size_t value_len);

/*
 * Sets cost bytes aside for so many entries; false (and nothing changed) if there
 * is not that much left.  The towers of the first 32 are measured, each of which
 * takes up to 48 bytes more than its cost, where there are, or 4 less.
 */
extern bool lsm_memtable_reserve(LsmMemtable *mt, size_t cost, uint32_t entries, LsmMemRoom *room);

/*
 * Inserts a copy; cannot fail within a room reserved with lsm_memtable_cost.  (user_key, seq) must be new.  Who has a finger in
 * this memtable may put it into the room before the first.
 */
extern void lsm_memtable_add(LsmMemtable *mt, LsmMemRoom *room, uint64_t seq, LsmType type,
							 LsmSlice user_key, LsmSlice value);

/* False: there is no version of this user key.  That is said of nearly all keys that have none. */
extern bool lsm_memtable_may_have(LsmMemtable *mt, LsmSlice user_key);

/*
 * Visits the versions of a user key from newest (of sequence <= max_seq) to
 * oldest until visit returns false.  Slices live as long as the memtable.
 * Returns false if visit stopped it.  hint points at one byte of the node, for
 * the outcome of its transaction (0 = not known; the caller's codes).  finger may be NULL.
 */
typedef bool (*LsmVisit)(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint);
extern bool lsm_memtable_get(LsmMemtable *mt, LsmMemFinger *finger, LsmSlice user_key, uint64_t max_seq, LsmVisit visit,
							 void *arg);

/*
 * Lets whoever walks through a key's versions step over those behind the newest,
 * up to the last in a row, that `dead` says nobody needs any more (of these the
 * last stays in the way).  Moving backward may still show them.  The caller keeps
 * others from adding versions of the key, and never adds one older than its newest.
 */
typedef bool (*LsmDead)(void *arg, LsmSlice value, volatile uint8_t *hint);
extern void lsm_memtable_step_over(LsmMemtable *mt, LsmSlice user_key, LsmDead dead, void *arg);

/* Sees entries added meanwhile, too, where it has not passed yet.  NULL when out of memory. */
extern LsmIter *lsm_memtable_iter(LsmMemtable *mt);
/* The current node's hint byte; NULL if `it` is no memtable's iterator or not valid. */
extern volatile uint8_t *lsm_memtable_iter_hint(LsmIter *it);

/*
 * About how many entries of wanted sequences with user keys in [lower, upper) there are, and the bytes they take; an empty
 * upper is the end.  Small numbers are exact; of large ones a sample is counted, the nodes that reach a higher level, which
 * some hundreds of steps do.
 */
extern void lsm_memtable_estimate(LsmMemtable *mt, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, uint64_t *entries,
								  uint64_t *bytes);

extern size_t lsm_memtable_used(const LsmMemtable *mt); /* bytes */
extern size_t lsm_memtable_size(const LsmMemtable *mt); /* bytes, as given to init */
extern uint64_t lsm_memtable_entries(const LsmMemtable *mt);

#endif
