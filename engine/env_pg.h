/*
 * env_pg.h - the engine's surroundings inside PostgreSQL: fd.c, LWLocks, condition variables.
 */
#ifndef LSM_ENV_PG_H
#define LSM_ENV_PG_H

#include "postgres.h"

#include "storage/latch.h"
#include "storage/lwlock.h"

#include "engine/env.h"

#define LSM_PG_DIRECTORY "docstore" /* within the data directory */

/* Bytes of shared memory, and making them; once, in the postmaster. */
extern Size lsm_env_pg_shared_size(void);
extern void lsm_env_pg_shared_init(void *shared);

/* This process's env over the shared part; locks: LSM_NUM_LOCKS of a tranche.  Never freed. */
extern LsmEnv *lsm_env_pg_attach(void *shared, LWLockPadded *locks);

/* A process that does background work: LSM_WAIT_WORK's wakeups set its latch, until it ends. */
#define LSM_PG_MAX_WORKERS 8
extern void lsm_env_pg_add_worker(Latch *latch);
extern void lsm_env_pg_remove_worker(Latch *latch);

/* Does what other processes wait for this one to do (ProcSignalBarrier), during long work.  Does not throw. */
extern void lsm_env_pg_absorb(void);

/* Creates the directory if it is missing.  Throws. */
extern void lsm_env_pg_make_directory(void);

#endif
