/*
 * shmem.h - what docstore keeps in PostgreSQL's shared memory.
 */
#ifndef DOCSTORE_SHMEM_H
#define DOCSTORE_SHMEM_H

#include "postgres.h"

#include "storage/lwlock.h"

#include "engine/db.h"

typedef struct DocstoreShared
{
	Size env_offset;
	Size store_offset;
	/* Written by the compactor, read by docstore.status. */
	pg_atomic_uint32 compactor_pid;
	pg_atomic_uint32 refused;       /* the compactor cannot run under these settings */
	pg_atomic_uint64 retained_from; /* restart_lsn of the slot */
} DocstoreShared;

/* NULL unless loaded by shared_preload_libraries. */
extern DocstoreShared *docstore_shared;
extern LsmShared *docstore_lsm_shared(void);

#endif
