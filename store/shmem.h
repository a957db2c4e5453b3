/*
 * shmem.h - what docstore keeps in PostgreSQL's shared memory.
 */
#ifndef DOCSTORE_SHMEM_H
#define DOCSTORE_SHMEM_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/spin.h"

#include "engine/db.h"
#include "engine/repair.h"
#include "store/workers.h"

/* What docstore.repair() asks the compactor for, and what became of it (worker/repair.c). */
typedef enum DocstoreRepairState
{
	DOCSTORE_REPAIR_NONE,
	DOCSTORE_REPAIR_ASKED,
	DOCSTORE_REPAIR_RUNS,
	DOCSTORE_REPAIR_DONE,
	DOCSTORE_REPAIR_FAILED
} DocstoreRepairState;

typedef struct DocstoreRepair
{
	DocstoreRepairState state;
	LsmRepairResult result; /* done */
	LsmError err;           /* failed */
} DocstoreRepair;

typedef struct DocstoreShared
{
	Size env_offset;
	Size store_offset;
	Size rowlock_offset;
	pg_atomic_uint32 compactor_pid; /* 0: it does not run */
	pg_atomic_uint32 attended;      /* the store is up, and the compactor holds the slot */
	pg_atomic_uint32 backups;       /* sessions that called pg_backup_start */
	bool redone;                    /* the startup process met a batch; constant afterwards */
	slock_t mutex;
	char trouble[256];     /* mutex; why the compactor cannot bring the store up, or one of its tasks fails; "" if all is well */
	DocstoreRepair repair; /* mutex */
	DocstoreWorkers workers;
} DocstoreShared;

/* NULL unless loaded by shared_preload_libraries. */
extern DocstoreShared *docstore_shared;
extern LsmShared *docstore_lsm_shared(void);
/* How the settings say that the engine works. */
extern void docstore_engine_options(LsmOptions *options);

/* The compactor tells the others what is wrong with it, "" if nothing. */
extern void docstore_set_trouble(const char *text);
/* Copies what it told; false if nothing. */
extern bool docstore_get_trouble(char *text, Size size);

#endif
