/*
 * env.h - the engine's surroundings: files, locks, waits, clock.
 *
 * Three kinds: env_posix.c (standalone: threads, or processes after fork),
 * env_pg.c (fd.c, LWLocks, latches; the only engine file that includes
 * PostgreSQL's headers) and env_sim.c (in-memory disk with faults and crashes
 * from a seed).  No function throws.  File names are relative to the store's
 * directory ("000005.ldb").
 */
#ifndef LSM_ENV_H
#define LSM_ENV_H

#include "engine/status.h"

typedef struct LsmEnv LsmEnv;
typedef struct LsmFile LsmFile; /* every kind embeds it first in its own struct */

typedef enum LsmOpenMode
{
	LSM_OPEN_READ,   /* must exist */
	LSM_OPEN_CREATE, /* for append; an existing file is emptied */
	LSM_OPEN_APPEND, /* for append at the end of an existing (or new) file */
	LSM_OPEN_SHARED  /* read and write_at by many processes; created if missing */
} LsmOpenMode;

typedef enum LsmLockMode
{
	LSM_SHARED,
	LSM_EXCLUSIVE
} LsmLockMode;

/*
 * Locks live in memory that all processes of the store share and are named by
 * number.  Order: lower numbers first.  None is held over file access except
 * LSM_LOCK_MANIFEST and, standalone, LSM_LOCK_WRITE.
 */
typedef enum LsmLockId
{
	LSM_LOCK_STRIPE, /* first of LSM_NUM_STRIPES: writers of one id (used above the engine) */
	LSM_NUM_STRIPES = 128,
	LSM_LOCK_MANIFEST = LSM_NUM_STRIPES, /* one process at a time changes the set of files */
	LSM_LOCK_WRITE,                      /* the write pin: shared by writers, exclusive to rotate the memtable */
	LSM_LOCK_STATE,                      /* LsmShared's list of memtables and epoch */
	LSM_LOCK_CACHE,                      /* first of the block cache's partitions */
	LSM_NUM_CACHE_PARTITIONS = 64,
	LSM_NUM_LOCKS = LSM_LOCK_CACHE + LSM_NUM_CACHE_PARTITIONS
} LsmLockId;

/* What a process may sleep for. */
typedef enum LsmWaitId
{
	LSM_WAIT_ROOM, /* a memtable slot became free, or the store failed */
	LSM_WAIT_WORK, /* something for the background process to do */
	LSM_NUM_WAITS
} LsmWaitId;

typedef struct LsmEnvOps
{
	/* files */
	LsmStatus (*open)(LsmEnv *env, const char *name, LsmOpenMode mode, LsmFile **file, LsmError *err);
	/* Reads up to len bytes at offset; fewer only at the end of the file. */
	LsmStatus (*read)(LsmFile *file, uint64_t offset, char *buf, size_t len, size_t *nread, LsmError *err);
	/* Adds at the end (of a file opened with CREATE or APPEND).  All or an error; after an error the tail is unknown. */
	LsmStatus (*append)(LsmFile *file, const char *data, size_t len, LsmError *err);
	LsmStatus (*write_at)(LsmFile *file, uint64_t offset, const char *data, size_t len, LsmError *err);
	/*
	 * Makes the file end at offset + len, zeros where nothing was written (of a file opened with SHARED), so that what
	 * is written there later needs no new space.  A hint: false if it cannot be, NULL where it never can.
	 */
	bool (*allocate)(LsmFile *file, uint64_t offset, size_t len);
	/* Begins to bring that part to the disk, so that a sync has less to wait for.  A hint; NULL where there is none. */
	void (*write_back)(LsmFile *file, uint64_t offset, size_t len);
	LsmStatus (*sync)(LsmFile *file, LsmError *err);
	void (*close)(LsmFile *file);
	LsmStatus (*file_size)(LsmEnv *env, const char *name, uint64_t *size, LsmError *err);
	LsmStatus (*rename)(LsmEnv *env, const char *from, const char *to, LsmError *err);
	LsmStatus (*remove)(LsmEnv *env, const char *name, LsmError *err);
	/* Calls fn once for each file name in the directory, in any order. */
	LsmStatus (*list)(LsmEnv *env, void (*fn)(void *arg, const char *name), void *arg, LsmError *err);
	/* Makes creations, renames and removals durable. */
	LsmStatus (*sync_dir)(LsmEnv *env, LsmError *err);

	/* locks, by LsmLockId (+ index for stripes and partitions) */
	void (*lock)(LsmEnv *env, int lock, LsmLockMode mode);
	bool (*try_lock)(LsmEnv *env, int lock, LsmLockMode mode);
	void (*unlock)(LsmEnv *env, int lock);

	/*
	 * Sleeps until woken or timeout_ms is over, whichever comes first; spurious
	 * returns are allowed, so callers test their condition in a loop.  The wait
	 * is announced with wait_prepare BEFORE the condition is tested, so that no
	 * wakeup between test and sleep is lost; wait_end afterwards, also when the
	 * condition already held.  A wake in between undoes the announcement (a
	 * process can announce one wait at a time), and the wait would not sleep:
	 * wake others before.  LSM_INTERRUPTED when the process was asked to stop.
	 */
	void (*wait_prepare)(LsmEnv *env, LsmWaitId what);
	LsmStatus (*wait)(LsmEnv *env, LsmWaitId what, int timeout_ms);
	void (*wait_end)(LsmEnv *env, LsmWaitId what);
	void (*wake)(LsmEnv *env, LsmWaitId what);

	uint64_t (*now_us)(LsmEnv *env);
} LsmEnvOps;

/* The kinds embed this first. */
struct LsmEnv
{
	const LsmEnvOps *ops;
};

struct LsmFile
{
	LsmEnv *env;
	char name[64];
};

/* Thin wrappers, so that calls read lsm_file_read(file, ...). */
#define lsm_file_open(env, name, mode, file, err) ((env)->ops->open(env, name, mode, file, err))
#define lsm_file_read(file, off, buf, len, nread, err) ((file)->env->ops->read(file, off, buf, len, nread, err))
#define lsm_file_append(file, data, len, err) ((file)->env->ops->append(file, data, len, err))
#define lsm_file_write_at(file, off, data, len, err) ((file)->env->ops->write_at(file, off, data, len, err))
#define lsm_file_sync(file, err) ((file)->env->ops->sync(file, err))
#define lsm_file_close(file) ((file)->env->ops->close(file))
#define lsm_lock(env, id, mode) ((env)->ops->lock(env, id, mode))
#define lsm_try_lock(env, id, mode) ((env)->ops->try_lock(env, id, mode))
#define lsm_unlock(env, id) ((env)->ops->unlock(env, id))

/*
 * Standalone: the directory is created if missing.  The locks lie in memory
 * mapped shared and anonymous, so that children of fork() share them.
 * env_posix also takes LevelDB's LOCK file.
 */
extern LsmStatus lsm_env_posix_open(const char *dir, LsmEnv **env, LsmError *err);
extern void lsm_env_posix_close(LsmEnv *env);

#endif
