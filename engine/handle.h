/*
 * handle.h - one process's (or thread's) handle: LsmDb, its pin and its view.
 *
 * The view is what a reader looks at: the memtables (newest first) and the set
 * of files, both as of one epoch.  Between lsm_enter and lsm_leave the pin keeps
 * all of it in place.  Proof sketch: memory and files leave the view with an
 * epoch R (raised under STATE).  They are reused once no pin is below R.
 * lsm_enter writes its pin e, then sees that the epoch still is e: a raise to R
 * comes later, so whoever scans the pins for R sees e < R.  The slow path writes
 * its pin under STATE, where nobody raises the epoch.
 */
#ifndef LSM_HANDLE_H
#define LSM_HANDLE_H

#include "engine/manifest.h"
#include "engine/shared.h"
#include "engine/table_cache.h"

typedef struct LsmStandalone LsmStandalone; /* standalone.c */

typedef struct LsmMemView
{
	LsmMemtable *memtable;
	uint64_t generation;
	int slot;
	LsmMemFinger finger;
} LsmMemView;

/* A file that no set names any more since `epoch`. */
typedef struct LsmGarbage
{
	LsmFileKind kind;
	uint64_t number;
	uint64_t epoch;
} LsmGarbage;

struct LsmDb
{
	LsmEnv *env;
	LsmShared *shared;
	LsmJournal *journal;
	const LsmTxnOps *txn; /* NULL: standalone */
	void *txn_ctx;
	int handle;
	bool (*should_stop)(void *arg);
	void *stop_arg;
	LsmStandalone *standalone;                                                                             /* of lsm_open; NULL for lsm_attach */
	LsmStatus (*write_grouped)(LsmDb *db, LsmBatch *batch, bool sync, uint64_t *first_seq, LsmError *err); /* likewise */

	/* the pin */
	_Atomic uint64_t *pin;
	int pin_depth;    /* calls and scans that rely on it */
	uint64_t pin_era; /* raised when all pins were dropped at once */

	/* the view */
	uint64_t view_epoch; /* UINT64_MAX: none */
	int nmems;
	LsmMemView mems[LSM_MAX_SLOTS];
	LsmFollow follow; /* follow.files is the set */
	LsmTableCache tables;

	int job; /* the merge that this handle does: index into shared->jobs; -1: none */

	/* of who changes the set of files */
	LsmManifestWriter manifest;
	LsmGarbage *garbage;
	int ngarbage, cap_garbage;

	LsmBuf spill; /* a spilled value being read */
};

/* Brings the view up to date; LSM_BUSY before recovery is over, or the kept error. */
extern LsmStatus lsm_enter_slow(LsmDb *db, LsmError *err);

/* Pins the current epoch and makes the view current.  Nests. */
static inline LsmStatus
lsm_enter(LsmDb *db, LsmError *err)
{
	uint64_t epoch = atomic_load_explicit(&db->shared->epoch, memory_order_acquire);

	if (__builtin_expect(epoch != db->view_epoch, 0))
		return lsm_enter_slow(db, err);
	if (db->pin_depth == 0)
	{
		atomic_exchange(db->pin, epoch);
		if (__builtin_expect(atomic_load(&db->shared->epoch) != epoch, 0))
			return lsm_enter_slow(db, err);
	}
	db->pin_depth++;
	return LSM_OK;
}

static inline void
lsm_leave(LsmDb *db)
{
	if (--db->pin_depth == 0)
		atomic_store_explicit(db->pin, 0, memory_order_release);
}

/* The handle's finger in the newest memtable of its view, if that is still this one; else NULL. */
static inline LsmMemFinger *
lsm_finger(LsmDb *db, uint64_t generation)
{
	return db->nmems > 0 && db->mems[0].generation == generation ? &db->mems[0].finger : NULL;
}

static inline bool
lsm_stamped(const LsmDb *db)
{
	return db->txn != NULL;
}

static inline bool
lsm_stopping(const LsmDb *db)
{
	return db->should_stop != NULL && db->should_stop(db->stop_arg);
}

static inline uint64_t
lsm_new_file_number(LsmDb *db)
{
	return atomic_fetch_add(&db->shared->next_file, 1);
}

extern LsmStatus lsm_no_memory(LsmError *err);

#endif
