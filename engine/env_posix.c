/*
 * env_posix.c - the engine standalone: threads of one process, or processes after fork().
 *
 * Locks and waits lie in memory mapped shared and anonymous, so that children
 * inherit them.  A child uses the env that it inherited and need not close it.
 *
 * LevelDB's LOCK file keeps everybody else out of the directory.  LevelDB takes
 * a record lock on it (fcntl), and keeps a table beside it because such a lock
 * does not exclude the same process and goes with any descriptor of the file
 * that is closed.  Ours is a lock of the open file description: it conflicts
 * with LevelDB's and with a second open by this process, children of fork()
 * share it, and it ends when the last of them has ended.
 *
 * No call that failed is tried again except for EINTR.  In particular no sync
 * is: the kernel may have dropped the pages that it could not write, and the
 * second attempt would succeed without them.
 */
#define _GNU_SOURCE /* F_OFD_SETLK, fallocate, pthread_rwlockattr_setkind_np */
#include "engine/env.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A cache line each, so that neighbours (the block cache's partitions) do not slow each other down. */
typedef struct PosixLock
{
	_Alignas(64) pthread_rwlock_t rwlock;
} PosixLock;

/* Changed under the mutex; wait_prepare reads the count without it. */
typedef struct PosixWait
{
	_Alignas(64) pthread_mutex_t mutex;
	pthread_cond_t cond;
	_Atomic uint64_t wakes;
} PosixWait;

typedef struct PosixShared
{
	PosixLock locks[LSM_NUM_LOCKS];
	PosixWait waits[LSM_NUM_WAITS];
} PosixShared;

typedef struct PosixEnv
{
	LsmEnv base;
	int dir_fd;
	int lock_fd;
	PosixShared *shared;
} PosixEnv;

typedef struct PosixFile
{
	LsmFile base;
	int fd;
} PosixFile;

/*
 * The count of wakes that wait_prepare saw.  Whoever changes a condition wakes
 * afterwards, so if the test of the condition missed the change, the count goes
 * past this one and wait returns at once.  One a thread will do: nobody prepares
 * twice for the same thing before it ends the first.
 */
static _Thread_local uint64_t prepared[LSM_NUM_WAITS];

static PosixEnv *
posix_env(LsmEnv *env)
{
	return (PosixEnv *) env;
}

static LsmStatus
posix_open(LsmEnv *env, const char *name, LsmOpenMode mode, LsmFile **result, LsmError *err)
{
	int flags = O_CLOEXEC;
	PosixFile *file;
	int fd;

	*result = NULL;
	switch (mode)
	{
		case LSM_OPEN_READ:
			flags |= O_RDONLY;
			break;
		case LSM_OPEN_CREATE:
			flags |= O_WRONLY | O_CREAT | O_TRUNC | O_APPEND;
			break;
		case LSM_OPEN_APPEND:
			flags |= O_WRONLY | O_CREAT | O_APPEND;
			break;
		case LSM_OPEN_SHARED:
			flags |= O_RDWR | O_CREAT;
			break;
	}
	do
		fd = openat(posix_env(env)->dir_fd, name, flags, 0644);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return lsm_fail_os(err, errno, name, "could not open file");
	file = calloc(1, sizeof(*file));
	if (file == NULL)
	{
		close(fd);
		return lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
	}
	file->base.env = env;
	snprintf(file->base.name, sizeof(file->base.name), "%s", name);
	file->fd = fd;
	*result = &file->base;
	return LSM_OK;
}

static LsmStatus
posix_read(LsmFile *base, uint64_t offset, char *buf, size_t len, size_t *nread, LsmError *err)
{
	PosixFile *file = (PosixFile *) base;
	size_t done = 0;

	while (done < len)
	{
		ssize_t n = pread(file->fd, buf + done, len - done, (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return lsm_fail_os(err, errno, base->name, "could not read file");
		if (n == 0)
			break;
		done += (size_t) n;
	}
	*nread = done;
	return LSM_OK;
}

/* One result of write or pwrite: moves on by what was written. */
static LsmStatus
wrote(LsmFile *file, ssize_t n, const char **data, size_t *len, LsmError *err)
{
	if (n > 0)
	{
		*data += n;
		*len -= (size_t) n;
		return LSM_OK;
	}
	if (n < 0 && errno == EINTR)
		return LSM_OK;
	/* Nothing written and no reason given can only mean that there is no room. */
	return lsm_fail_os(err, n < 0 ? errno : ENOSPC, file->name, "could not write to file");
}

static LsmStatus
posix_append(LsmFile *base, const char *data, size_t len, LsmError *err)
{
	int fd = ((PosixFile *) base)->fd;
	LsmStatus status = LSM_OK;

	while (len > 0 && status == LSM_OK)
		status = wrote(base, write(fd, data, len), &data, &len, err);
	return status;
}

static LsmStatus
posix_write_at(LsmFile *base, uint64_t offset, const char *data, size_t len, LsmError *err)
{
	int fd = ((PosixFile *) base)->fd;
	uint64_t end = offset + len;
	LsmStatus status = LSM_OK;

	while (len > 0 && status == LSM_OK)
		status = wrote(base, pwrite(fd, data, len, (off_t) (end - len)), &data, &len, err);
	return status;
}

static bool
posix_allocate(LsmFile *base, uint64_t offset, size_t len)
{
	return fallocate(((PosixFile *) base)->fd, 0, (off_t) offset, (off_t) len) == 0;
}

static void
posix_write_back(LsmFile *base, uint64_t offset, size_t len)
{
	(void) sync_file_range(((PosixFile *) base)->fd, (off_t) offset, (off_t) len, SYNC_FILE_RANGE_WRITE);
}

static LsmStatus
posix_sync(LsmFile *base, LsmError *err)
{
	PosixFile *file = (PosixFile *) base;

	if (fdatasync(file->fd) != 0)
		return lsm_fail_os(err, errno, base->name, "could not sync file");
	return LSM_OK;
}

static void
posix_close(LsmFile *base)
{
	close(((PosixFile *) base)->fd);
	free(base);
}

static LsmStatus
posix_file_size(LsmEnv *env, const char *name, uint64_t *size, LsmError *err)
{
	struct stat st;

	if (fstatat(posix_env(env)->dir_fd, name, &st, 0) != 0)
		return lsm_fail_os(err, errno, name, "could not stat file");
	*size = (uint64_t) st.st_size;
	return LSM_OK;
}

static LsmStatus
posix_rename(LsmEnv *env, const char *from, const char *to, LsmError *err)
{
	int dir = posix_env(env)->dir_fd;

	if (renameat(dir, from, dir, to) != 0)
		return lsm_fail_os(err, errno, from, "could not rename file to \"%s\"", to);
	return LSM_OK;
}

static LsmStatus
posix_remove(LsmEnv *env, const char *name, LsmError *err)
{
	if (unlinkat(posix_env(env)->dir_fd, name, 0) != 0)
		return lsm_fail_os(err, errno, name, "could not remove file");
	return LSM_OK;
}

static LsmStatus
posix_list(LsmEnv *env, void (*fn)(void *arg, const char *name), void *arg, LsmError *err)
{
	int fd = openat(posix_env(env)->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int saved;

	if (dir == NULL)
	{
		saved = errno;
		if (fd >= 0)
			close(fd);
		return lsm_fail_os(err, saved, ".", "could not open directory");
	}
	for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			fn(arg, entry->d_name);
	saved = errno;
	closedir(dir);
	if (saved != 0)
		return lsm_fail_os(err, saved, ".", "could not read directory");
	return LSM_OK;
}

static LsmStatus
posix_sync_dir(LsmEnv *env, LsmError *err)
{
	if (fsync(posix_env(env)->dir_fd) != 0)
		return lsm_fail_os(err, errno, ".", "could not sync directory");
	return LSM_OK;
}

static void
posix_lock(LsmEnv *env, int lock, LsmLockMode mode)
{
	pthread_rwlock_t *rwlock = &posix_env(env)->shared->locks[lock].rwlock;
	int rc = mode == LSM_SHARED ? pthread_rwlock_rdlock(rwlock) : pthread_rwlock_wrlock(rwlock);

	assert(rc == 0);
	(void) rc;
}

static bool
posix_try_lock(LsmEnv *env, int lock, LsmLockMode mode)
{
	pthread_rwlock_t *rwlock = &posix_env(env)->shared->locks[lock].rwlock;

	return (mode == LSM_SHARED ? pthread_rwlock_tryrdlock(rwlock) : pthread_rwlock_trywrlock(rwlock)) == 0;
}

static void
posix_unlock(LsmEnv *env, int lock)
{
	int rc = pthread_rwlock_unlock(&posix_env(env)->shared->locks[lock].rwlock);

	assert(rc == 0);
	(void) rc;
}

static void
posix_wait_prepare(LsmEnv *env, LsmWaitId what)
{
	prepared[what] = atomic_load(&posix_env(env)->shared->waits[what].wakes);
}

static LsmStatus
posix_wait(LsmEnv *env, LsmWaitId what, int timeout_ms)
{
	PosixWait *wait = &posix_env(env)->shared->waits[what];
	struct timespec until;

	if (timeout_ms < 0)
		timeout_ms = 0;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&wait->mutex);
	while (atomic_load(&wait->wakes) == prepared[what])
		if (pthread_cond_timedwait(&wait->cond, &wait->mutex, &until) != 0)
			break;
	/* The caller tests its condition after this, so it may wait again without a new wait_prepare. */
	prepared[what] = atomic_load(&wait->wakes);
	pthread_mutex_unlock(&wait->mutex);
	return LSM_OK;
}

static void
posix_wait_end(LsmEnv *env, LsmWaitId what)
{
	(void) env;
	(void) what;
}

static void
posix_wake(LsmEnv *env, LsmWaitId what)
{
	PosixWait *wait = &posix_env(env)->shared->waits[what];

	pthread_mutex_lock(&wait->mutex);
	atomic_fetch_add(&wait->wakes, 1);
	pthread_cond_broadcast(&wait->cond);
	pthread_mutex_unlock(&wait->mutex);
}

static uint64_t
posix_now_us(LsmEnv *env)
{
	struct timespec now;

	(void) env;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static const LsmEnvOps posix_ops = {
	.open = posix_open,
	.read = posix_read,
	.append = posix_append,
	.write_at = posix_write_at,
	.allocate = posix_allocate,
	.write_back = posix_write_back,
	.sync = posix_sync,
	.close = posix_close,
	.file_size = posix_file_size,
	.rename = posix_rename,
	.remove = posix_remove,
	.list = posix_list,
	.sync_dir = posix_sync_dir,
	.lock = posix_lock,
	.try_lock = posix_try_lock,
	.unlock = posix_unlock,
	.wait_prepare = posix_wait_prepare,
	.wait = posix_wait,
	.wait_end = posix_wait_end,
	.wake = posix_wake,
	.now_us = posix_now_us,
};

static bool
make_shared(PosixEnv *env)
{
	pthread_rwlockattr_t lock_attr;
	pthread_mutexattr_t mutex_attr;
	pthread_condattr_t cond_attr;
	PosixShared *shared = mmap(NULL, sizeof(PosixShared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		return false;
	pthread_rwlockattr_init(&lock_attr);
	pthread_rwlockattr_setpshared(&lock_attr, PTHREAD_PROCESS_SHARED);
	/* A steady stream of writers (shared holders of the write pin) must not starve the one that rotates. */
	pthread_rwlockattr_setkind_np(&lock_attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_mutexattr_init(&mutex_attr);
	pthread_mutexattr_setpshared(&mutex_attr, PTHREAD_PROCESS_SHARED);
	pthread_condattr_init(&cond_attr);
	pthread_condattr_setpshared(&cond_attr, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&cond_attr, CLOCK_MONOTONIC);
	for (int i = 0; i < LSM_NUM_LOCKS; i++)
		pthread_rwlock_init(&shared->locks[i].rwlock, &lock_attr);
	for (int i = 0; i < LSM_NUM_WAITS; i++)
	{
		pthread_mutex_init(&shared->waits[i].mutex, &mutex_attr);
		pthread_cond_init(&shared->waits[i].cond, &cond_attr);
	}
	pthread_rwlockattr_destroy(&lock_attr);
	pthread_mutexattr_destroy(&mutex_attr);
	pthread_condattr_destroy(&cond_attr);
	env->shared = shared;
	return true;
}

/* Makes the new directory's own name durable, which its own sync does not. */
static LsmStatus
sync_parent(int dir_fd, const char *dir, LsmError *err)
{
	int fd = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	LsmStatus status = LSM_OK;

	if (fd < 0 || fsync(fd) != 0)
		status = lsm_fail_os(err, errno, dir, "could not sync parent directory");
	if (fd >= 0)
		close(fd);
	return status;
}

static LsmStatus
take_lock_file(PosixEnv *env, LsmError *err)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	env->lock_fd = openat(env->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (env->lock_fd < 0)
		return lsm_fail_os(err, errno, "LOCK", "could not open lock file");
	if (fcntl(env->lock_fd, F_OFD_SETLK, &whole) == 0)
		return LSM_OK;
	if (errno == EAGAIN || errno == EACCES)
		return lsm_fail_os(err, errno, "LOCK", "the store is in use, by another process or opened twice by this one");
	return lsm_fail_os(err, errno, "LOCK", "could not lock the store");
}

LsmStatus
lsm_env_posix_open(const char *dir, LsmEnv **result, LsmError *err)
{
	LsmStatus status;
	PosixEnv *env;
	bool made;

	*result = NULL;
	made = mkdir(dir, 0755) == 0;
	if (!made && errno != EEXIST)
		return lsm_fail_os(err, errno, dir, "could not create directory");
	env = calloc(1, sizeof(*env));
	if (env == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, dir, 0, "out of memory");
	env->base.ops = &posix_ops;
	env->lock_fd = -1;
	env->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (env->dir_fd < 0)
		status = lsm_fail_os(err, errno, dir, "could not open directory");
	else
		status = made ? sync_parent(env->dir_fd, dir, err) : LSM_OK;
	if (status == LSM_OK)
		status = take_lock_file(env, err);
	if (status == LSM_OK && !make_shared(env))
		status = lsm_fail_os(err, errno, dir, "could not map shared memory");
	if (status != LSM_OK)
	{
		lsm_env_posix_close(&env->base);
		return status;
	}
	*result = &env->base;
	return LSM_OK;
}

void
lsm_env_posix_close(LsmEnv *base)
{
	PosixEnv *env = posix_env(base);

	if (base == NULL)
		return;
	if (env->shared != NULL)
		munmap(env->shared, sizeof(PosixShared));
	if (env->lock_fd >= 0)
		close(env->lock_fd);
	if (env->dir_fd >= 0)
		close(env->dir_fd);
	free(env);
}
