/*
 * shared.h - what all processes of a store share: the layout of LsmShared.
 *
 * It may be mapped at another address in every process: offsets and indexes, no
 * pointers.  Beside each field stands what protects it: "STATE" is
 * LSM_LOCK_STATE, "WRITE" LSM_LOCK_WRITE, "MANIFEST" LSM_LOCK_MANIFEST, "role" the
 * work role (work.h); atomic ones may be read at any time.
 */
#ifndef LSM_SHARED_H
#define LSM_SHARED_H

#include <stdatomic.h>

#include "engine/db.h"
#include "engine/memtable.h"

#define LSM_MAX_SLOTS 16
#define LSM_MAX_SNAPSHOTS 128
#define LSM_MAX_JOBS 8
#define LSM_KEY_HEAD 256

/* What an arena is at the moment. */
typedef enum LsmSlotState
{
	LSM_SLOT_FREE,
	LSM_SLOT_TAKEN,     /* somebody is making it a memtable, or emptying it */
	LSM_SLOT_ACTIVE,    /* writers insert */
	LSM_SLOT_IMMUTABLE, /* to be flushed */
	LSM_SLOT_RETIRED    /* flushed; readers of older epochs may still look at it */
} LsmSlotState;

typedef struct LsmSlot
{
	LsmSlotState state;       /* STATE */
	uint64_t generation;      /* STATE; memtables are numbered from 1, never twice */
	uint64_t position;        /* STATE; the journal's position where it begins */
	uint64_t retired_epoch;   /* STATE */
	_Atomic uint64_t min_xid; /* lowest id of a stamp within; UINT64_MAX: none */
	_Atomic uint32_t spills;  /* values in spill files of their own */
} LsmSlot;

/* The epoch a handle uses, 0: none.  A line of its own, for it is written by every call. */
typedef struct LsmPin
{
	_Alignas(64) _Atomic uint64_t epoch;
} LsmPin;

typedef struct LsmSnapshot
{
	uint64_t seq;
	uint32_t count;
} LsmSnapshot;

/* The first bytes of a key.  Cutting keeps the order, so what overlaps does so cut, too. */
typedef struct LsmKeyHead
{
	uint32_t len;
	char bytes[LSM_KEY_HEAD];
} LsmKeyHead;

/* Of these levels a merge reads and writes keys from first to last, and nobody else does.  job.h */
typedef struct LsmClaim
{
	int level;
	int output_level;
	LsmKeyHead first;
	LsmKeyHead last;
	bool endless; /* there is no last */
} LsmClaim;

typedef struct LsmInputs
{
	int level;
	int output_level;
	int files;              /* of both levels */
	uint64_t bytes;         /* likewise */
	int leaving;            /* files that leave `level` ... */
	uint64_t leaving_bytes; /* ... and their bytes */
} LsmInputs;

/* A merge, or what the holder of the work role keeps to itself while it does several. */
typedef struct LsmJob
{
	int owner;             /* handle + 1; 0: nobody; STATE */
	bool reserved;         /* STATE; as long as the role, not as a merge */
	LsmClaim claim;        /* STATE */
	LsmInputs inputs;      /* STATE; of the merge; files 0: none now */
	uint64_t first_number; /* STATE; the files that it writes have this number or a higher one */

	/* throttle.c */
	_Atomic uint64_t since_us; /* when the merge began; 0: none runs */
	_Atomic uint64_t takes_us; /* what it should take */
	_Atomic bool of_level0;
} LsmJob;

typedef enum LsmPhase
{
	LSM_PHASE_NEW, /* not recovered yet */
	LSM_PHASE_READY,
	LSM_PHASE_FAILED
} LsmPhase;

struct LsmShared
{
	LsmOptions options; /* constant */
	size_t pins_offset;
	size_t arenas_offset;
	size_t cache_offset; /* 0: no block cache */
	size_t capacity;     /* bytes that an empty memtable takes */

	/* ---- read by every call, written seldom ---- */
	_Alignas(64) _Atomic uint64_t epoch; /* raised under STATE exclusive; 0 until recovered */
	_Atomic int phase;                   /* LsmPhase; STATE to change */
	_Atomic int active;                  /* slot; changed under WRITE exclusive and STATE exclusive */
	_Atomic uint64_t active_generation;  /* likewise */
	_Atomic int waiting;                 /* immutable memtables; STATE to change */
	_Atomic int level0_files;            /* STATE to change */
	_Atomic uint64_t bad_generation;     /* the journal failed while this memtable was active: no writes until it is
										  * flushed and its log forgotten; 0: none; WRITE to set, STATE to clear */

	/* ---- written by every write ---- */
	_Alignas(64) _Atomic uint64_t last_seq; /* highest sequence given out (concurrent journal) or visible (else) */
	_Atomic uint64_t bytes_written;
	_Alignas(64) _Atomic uint64_t next_file; /* file numbers */

	/* ---- STATE ---- */
	LsmSlot slots[LSM_MAX_SLOTS];
	int mems[LSM_MAX_SLOTS]; /* active and immutable memtables, newest first */
	int nmems;
	uint64_t generation;
	uint64_t manifest_number;                 /* in use */
	uint64_t manifest_length;                 /* durable bytes */
	uint64_t manifest_base;                   /* its length when it was new */
	uint64_t manifest_position;               /* journal position that it names */
	LsmSnapshot snapshots[LSM_MAX_SNAPSHOTS]; /* ascending */
	int nsnapshots;
	LsmError kept_error;    /* why recovery failed */
	LsmError flush_error;   /* of the last flush; OK if it succeeded */
	LsmError compact_error; /* of the last compaction */

	/* ---- background work ---- */
	_Atomic int worker;            /* handle + 1 that has the role; 0: nobody */
	LsmJob jobs[LSM_MAX_JOBS + 1]; /* options.max_compactions of background work, and the last of who has the role */
	_Atomic bool manifest_bad;     /* an append or roll failed: start a new manifest, delete nothing; MANIFEST to change */
	_Atomic uint64_t sweep_below;  /* there may be files with lower numbers that nobody remembers; 0: none */
	_Atomic bool went_back;        /* recovery found a copy and took an earlier state of it */
	_Atomic uint64_t rate;         /* bytes a second that compactions may write; 0: no limit */

	/* ---- throttle.c ---- */
	_Atomic uint64_t level0_work;    /* bytes that a merge of level 0 would read; STATE to change */
	_Atomic uint64_t merge_rate;     /* bytes a second that a merge reads; 0: not measured yet */
	_Atomic uint64_t flush_us;       /* what a flush takes; 0: not measured yet */
	_Atomic uint64_t flush_since_us; /* when the running one began; 0: none runs */
	_Atomic uint64_t next_write_us;  /* when the next write is due while background work is behind */

	/* ---- dead.c ---- */
	_Atomic bool dead_noted;        /* a scan met a stretch of dead entries; STATE to set, role to clear */
	_Atomic uint64_t dead_pause_us; /* before then no other is noted */
	LsmKeyHead dead_first;          /* STATE */
	LsmKeyHead dead_last;           /* STATE */
	bool dead_flushed;              /* memtables were flushed since; role while dead_noted */
	uint64_t dead_took_us;          /* so far; likewise */

	/* ---- seek.c ---- */
	_Atomic uint64_t seek_file;     /* number of a file that lookups searched in vain; 0: none; role to clear */
	_Atomic uint64_t seek_pause_us; /* before then no other is noted */

	/* ---- counters for lsm_stats ---- */
	_Atomic uint64_t flushes, compactions, seek_compactions, bytes_flushed, bytes_compacted, stalls, stall_us;
};

static inline LsmPin *
lsm_shared_pins(LsmShared *shared)
{
	return (LsmPin *) ((char *) shared + shared->pins_offset);
}

static inline LsmMemtable *
lsm_shared_arena(LsmShared *shared, int slot)
{
	return (LsmMemtable *) ((char *) shared + shared->arenas_offset + (size_t) slot * shared->options.memtable_size);
}

static inline LsmCache *
lsm_shared_cache(LsmShared *shared)
{
	return shared->cache_offset == 0 ? NULL : (LsmCache *) ((char *) shared + shared->cache_offset);
}

/* The lowest epoch that anybody uses, UINT64_MAX if nobody uses any. */
extern uint64_t lsm_shared_min_pin(LsmShared *shared);

/* Lowest registered snapshot, or last_seq.  STATE is taken. */
extern uint64_t lsm_shared_oldest_snapshot(LsmShared *shared, LsmEnv *env);

/* An arena that is FREE, now TAKEN; -1 if there is none.  STATE held exclusively. */
extern int lsm_shared_take_slot(LsmShared *shared);

/* Makes a TAKEN arena the active memtable; the one so far becomes immutable.  WRITE and STATE held exclusively. */
extern void lsm_shared_push(LsmShared *shared, int slot, uint64_t position);

#endif
