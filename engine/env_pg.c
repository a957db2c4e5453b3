/*
 * env_pg.c - the engine inside PostgreSQL: files through fd.c, LWLocks, condition variables.
 *
 * The only engine file that includes PostgreSQL's headers.  Nothing here
 * throws: a longjmp would pass by the engine's clean-up and leave half-changed
 * state behind.  What can ereport in fd.c (opening a file may run out of memory)
 * is caught and becomes a status.  Waits hold interrupts off, sleep for short
 * steps and return LSM_INTERRUPTED when the process was asked to stop; whoever
 * called the engine throws then.
 *
 * After a failed fsync the server's own rule holds (data_sync_retry): PANIC,
 * unless the setting says that retrying is safe.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/fd.h"
#include "storage/procsignal.h"
#include "storage/spin.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "engine/env_pg.h"

#define WAIT_STEP_MS 100
#define PIECE (1 << 30) /* fd.c counts in int */

typedef struct PgShared
{
	ConditionVariable waits[LSM_NUM_WAITS];
	slock_t mutex;
	Latch *workers[LSM_PG_MAX_WORKERS]; /* mutex; NULL: nobody */
} PgShared;

typedef struct PgEnv
{
	LsmEnv base;
	PgShared *shared;
	LWLockPadded *locks;
} PgEnv;

typedef struct PgFile
{
	LsmFile base;
	File fd;
	off_t end; /* where the next append goes */
} PgFile;

static PgEnv the_env;

static void
path_of(char *path, const char *name)
{
	snprintf(path, MAXPGPATH, "%s/%s", LSM_PG_DIRECTORY, name);
}

/* PathNameOpenFile, with what it may throw turned into errno. */
static File
open_vfd(const char *path, int flags)
{
	MemoryContext context = CurrentMemoryContext;
	volatile File fd = -1;
	volatile int saved_errno = 0;
	uint32 holdoff = InterruptHoldoffCount;

	PG_TRY();
	{
		fd = PathNameOpenFile(path, flags);
		saved_errno = errno;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		/* The throw reset it, but the locks that counted it up are still held. */
		InterruptHoldoffCount = holdoff;
		fd = -1;
		saved_errno = ENOMEM;
	}
	PG_END_TRY();
	errno = saved_errno;
	return fd;
}

static LsmStatus
pg_open(LsmEnv *env, const char *name, LsmOpenMode mode, LsmFile **result, LsmError *err)
{
	char path[MAXPGPATH];
	int flags = PG_BINARY;
	off_t end = 0;
	PgFile *file;
	File fd;

	switch (mode)
	{
		case LSM_OPEN_READ:
			flags |= O_RDONLY;
			break;
		case LSM_OPEN_CREATE:
			flags |= O_RDWR | O_CREAT | O_TRUNC;
			break;
		case LSM_OPEN_APPEND:
		case LSM_OPEN_SHARED:
			flags |= O_RDWR | O_CREAT;
			break;
	}
	path_of(path, name);
	fd = open_vfd(path, flags);
	if (fd < 0)
		return lsm_fail_os(err, errno, name, "could not open file");
	if (mode == LSM_OPEN_APPEND)
	{
		end = FileSize(fd);
		if (end < 0)
		{
			int saved_errno = errno;

			FileClose(fd);
			return lsm_fail_os(err, saved_errno, name, "could not seek to end of file");
		}
	}
	file = calloc(1, sizeof(*file));
	if (file == NULL)
	{
		FileClose(fd);
		return lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
	}
	file->base.env = env;
	strlcpy(file->base.name, name, sizeof(file->base.name));
	file->fd = fd;
	file->end = end;
	*result = &file->base;
	return LSM_OK;
}

static LsmStatus
pg_read(LsmFile *base, uint64_t offset, char *buf, size_t len, size_t *nread, LsmError *err)
{
	PgFile *file = (PgFile *) base;
	size_t done = 0;

	while (done < len)
	{
		int n = FileRead(file->fd, buf + done, (int) Min(len - done, PIECE), (off_t) (offset + done),
						 WAIT_EVENT_DATA_FILE_READ);

		if (n < 0)
			return lsm_fail_os(err, errno, base->name, "could not read file");
		if (n == 0)
			break;
		done += (size_t) n;
	}
	*nread = done;
	return LSM_OK;
}

static LsmStatus
pg_write_at(LsmFile *base, uint64_t offset, const char *data, size_t len, LsmError *err)
{
	PgFile *file = (PgFile *) base;

	while (len > 0)
	{
		int n = FileWrite(file->fd, (char *) data, (int) Min(len, PIECE), (off_t) offset, WAIT_EVENT_DATA_FILE_WRITE);

		if (n < 0)
			return lsm_fail_os(err, errno, base->name, "could not write to file");
		if (n == 0)
			return lsm_fail_os(err, ENOSPC, base->name, "could not write to file");
		data += n;
		len -= (size_t) n;
		offset += (uint64_t) n;
	}
	return LSM_OK;
}

static LsmStatus
pg_append(LsmFile *base, const char *data, size_t len, LsmError *err)
{
	PgFile *file = (PgFile *) base;
	LsmStatus status = pg_write_at(base, (uint64_t) file->end, data, len, err);

	if (status == LSM_OK)
		file->end += (off_t) len;
	return status;
}

static LsmStatus
pg_sync(LsmFile *base, LsmError *err)
{
	PgFile *file = (PgFile *) base;

	if (FileSync(file->fd, WAIT_EVENT_DATA_FILE_SYNC) != 0)
	{
		int saved_errno = errno;

		/* What the kernel still has of the file is unknown now: the server's rule is to start over from WAL. */
		if (data_sync_elevel(LOG) == PANIC)
			ereport(PANIC, (errcode_for_file_access(),
							errmsg("could not fsync file \"%s/%s\": %m", LSM_PG_DIRECTORY, base->name)));
		return lsm_fail_os(err, saved_errno, base->name, "could not fsync file");
	}
	return LSM_OK;
}

static void
pg_close(LsmFile *base)
{
	FileClose(((PgFile *) base)->fd);
	free(base);
}

static LsmStatus
pg_file_size(LsmEnv *env, const char *name, uint64_t *size, LsmError *err)
{
	char path[MAXPGPATH];
	struct stat st;

	path_of(path, name);
	if (stat(path, &st) != 0)
		return lsm_fail_os(err, errno, name, "could not stat file");
	*size = (uint64_t) st.st_size;
	return LSM_OK;
}

static LsmStatus
pg_rename(LsmEnv *env, const char *from, const char *to, LsmError *err)
{
	char from_path[MAXPGPATH];
	char to_path[MAXPGPATH];

	path_of(from_path, from);
	path_of(to_path, to);
	if (rename(from_path, to_path) != 0)
		return lsm_fail_os(err, errno, from, "could not rename file to \"%s\"", to);
	return LSM_OK;
}

static LsmStatus
pg_remove(LsmEnv *env, const char *name, LsmError *err)
{
	char path[MAXPGPATH];

	path_of(path, name);
	if (unlink(path) != 0)
		return lsm_fail_os(err, errno, name, "could not remove file");
	return LSM_OK;
}

static LsmStatus
pg_list(LsmEnv *env, void (*fn)(void *arg, const char *name), void *arg, LsmError *err)
{
	DIR *dir = opendir(LSM_PG_DIRECTORY);
	struct dirent *entry;
	int saved_errno;

	if (dir == NULL)
		return lsm_fail_os(err, errno, ".", "could not open directory");
	for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			fn(arg, entry->d_name);
	saved_errno = errno;
	closedir(dir);
	if (saved_errno != 0)
		return lsm_fail_os(err, saved_errno, ".", "could not read directory");
	return LSM_OK;
}

/* fsync_fname_ext opens a transient descriptor, which may throw when there are too many. */
static LsmStatus
pg_sync_dir(LsmEnv *env, LsmError *err)
{
	MemoryContext context = CurrentMemoryContext;
	volatile int saved_errno = 0;
	uint32 holdoff = InterruptHoldoffCount;

	PG_TRY();
	{
		if (fsync_fname_ext(LSM_PG_DIRECTORY, true, false, data_sync_elevel(LOG)) != 0)
			saved_errno = errno;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		InterruptHoldoffCount = holdoff;
		saved_errno = EMFILE;
	}
	PG_END_TRY();
	if (saved_errno != 0)
		return lsm_fail_os(err, saved_errno, ".", "could not fsync directory");
	return LSM_OK;
}

static void
pg_lock(LsmEnv *env, int lock, LsmLockMode mode)
{
	LWLockAcquire(&((PgEnv *) env)->locks[lock].lock, mode == LSM_SHARED ? LW_SHARED : LW_EXCLUSIVE);
}

static bool
pg_try_lock(LsmEnv *env, int lock, LsmLockMode mode)
{
	return LWLockConditionalAcquire(&((PgEnv *) env)->locks[lock].lock, mode == LSM_SHARED ? LW_SHARED : LW_EXCLUSIVE);
}

static void
pg_unlock(LsmEnv *env, int lock)
{
	LWLockRelease(&((PgEnv *) env)->locks[lock].lock);
}

static bool
asked_to_stop(void)
{
	return ShutdownRequestPending || (InterruptPending && (QueryCancelPending || ProcDiePending));
}

static void
pg_wait_prepare(LsmEnv *env, LsmWaitId what)
{
	ConditionVariablePrepareToSleep(&((PgEnv *) env)->shared->waits[what]);
}

static LsmStatus
pg_wait(LsmEnv *env, LsmWaitId what, int timeout_ms)
{
	lsm_env_pg_absorb();
	if (asked_to_stop())
		return LSM_INTERRUPTED;
	/* Held, CHECK_FOR_INTERRUPTS inside does nothing; the short step bounds how late we notice. */
	HOLD_INTERRUPTS();
	ConditionVariableTimedSleep(&((PgEnv *) env)->shared->waits[what], Min(timeout_ms, WAIT_STEP_MS), PG_WAIT_EXTENSION);
	RESUME_INTERRUPTS();
	return asked_to_stop() ? LSM_INTERRUPTED : LSM_OK;
}

static void
pg_wait_end(LsmEnv *env, LsmWaitId what)
{
	ConditionVariableCancelSleep();
}

static void
pg_wake(LsmEnv *env, LsmWaitId what)
{
	PgShared *shared = ((PgEnv *) env)->shared;

	ConditionVariableBroadcast(&shared->waits[what]);
	if (what == LSM_WAIT_WORK)
	{
		Latch *workers[LSM_PG_MAX_WORKERS];

		SpinLockAcquire(&shared->mutex);
		memcpy(workers, shared->workers, sizeof(workers));
		SpinLockRelease(&shared->mutex);
		for (int i = 0; i < LSM_PG_MAX_WORKERS; i++)
			if (workers[i] != NULL)
				SetLatch(workers[i]);
	}
}

static uint64_t
pg_now_us(LsmEnv *env)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MICROSEC(now);
}

static const LsmEnvOps pg_ops = {
	.open = pg_open,
	.read = pg_read,
	.append = pg_append,
	.write_at = pg_write_at,
	.sync = pg_sync,
	.close = pg_close,
	.file_size = pg_file_size,
	.rename = pg_rename,
	.remove = pg_remove,
	.list = pg_list,
	.sync_dir = pg_sync_dir,
	.lock = pg_lock,
	.try_lock = pg_try_lock,
	.unlock = pg_unlock,
	.wait_prepare = pg_wait_prepare,
	.wait = pg_wait,
	.wait_end = pg_wait_end,
	.wake = pg_wake,
	.now_us = pg_now_us,
};

Size
lsm_env_pg_shared_size(void)
{
	return sizeof(PgShared);
}

void
lsm_env_pg_shared_init(void *mem)
{
	PgShared *shared = mem;

	for (int i = 0; i < LSM_NUM_WAITS; i++)
		ConditionVariableInit(&shared->waits[i]);
	SpinLockInit(&shared->mutex);
	memset(shared->workers, 0, sizeof(shared->workers));
}

LsmEnv *
lsm_env_pg_attach(void *shared, LWLockPadded *locks)
{
	the_env.base.ops = &pg_ops;
	the_env.shared = shared;
	the_env.locks = locks;
	return &the_env.base;
}

/* Puts a latch where another is. */
static void
replace_worker(Latch *old, Latch *latch)
{
	PgShared *shared = the_env.shared;

	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < LSM_PG_MAX_WORKERS; i++)
		if (shared->workers[i] == old)
		{
			shared->workers[i] = latch;
			break;
		}
	SpinLockRelease(&shared->mutex);
}

void
lsm_env_pg_add_worker(Latch *latch)
{
	replace_worker(latch, NULL);
	replace_worker(NULL, latch);
}

void
lsm_env_pg_remove_worker(Latch *latch)
{
	replace_worker(latch, NULL);
}

/*
 * DROP DATABASE, among others, waits until every process has closed its files of
 * it.  Whoever holds interrupts off (a lock, that is) does it later.
 */
void
lsm_env_pg_absorb(void)
{
	MemoryContext context = CurrentMemoryContext;

	if (likely(!ProcSignalBarrierPending) || InterruptHoldoffCount > 0 || CritSectionCount > 0)
		return;
	PG_TRY();
	{
		ProcessProcSignalBarrier();
	}
	PG_CATCH();
	{
		/* It stays pending. */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
}

void
lsm_env_pg_make_directory(void)
{
	if (MakePGDirectory(LSM_PG_DIRECTORY) == 0)
		fsync_fname(".", true);
	else if (errno != EEXIST)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", LSM_PG_DIRECTORY)));
}
