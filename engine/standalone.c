/*
 * standalone.c - a store in one call, for tests, tools and benchmarks; its threads' handles.
 *
 * Left out of the library that PostgreSQL loads, together with journal_log.c,
 * write_group.c and env_posix.c.
 *
 * LsmShared is mapped shared, so that children of fork() may read along with
 * handles of their own (lsm_attach); only the process that opened the store
 * writes, for the log's writer is private.
 */
#include "engine/standalone.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/write.h"

static void
free_standalone(LsmStandalone *s)
{
	if (s->journal != NULL)
		s->journal->ops->close(s->journal);
	if (s->memory != NULL)
		munmap(s->memory, s->memory_size);
	lsm_batch_free(&s->joined);
	pthread_mutex_destroy(&s->queue_mutex);
	free(s->used);
	free(s);
}

static LsmStatus
attach(LsmStandalone *s, LsmEnv *env, int handle, LsmDb **db, LsmError *err)
{
	LsmAttach attach = {.env = env, .shared = s->memory, .journal = s->journal, .handle = handle};
	LsmStatus status = lsm_attach(&attach, db, err);

	if (status == LSM_OK)
	{
		(*db)->standalone = s;
		(*db)->write_grouped = lsm_write_grouped;
		s->used[handle] = true;
	}
	return status;
}

LsmStatus
lsm_open(LsmEnv *env, const LsmOptions *options, LsmDb **db, LsmError *err)
{
	LsmStandalone *s = calloc(1, sizeof(LsmStandalone));
	LsmShared *shared;
	LsmStatus status;

	if (s == NULL)
		return lsm_no_memory(err);
	pthread_mutex_init(&s->queue_mutex, NULL);
	s->memory_size = lsm_shared_size(options);
	s->memory = mmap(NULL, s->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->memory == MAP_FAILED)
	{
		s->memory = NULL;
		free_standalone(s);
		return lsm_fail(err, LSM_NO_MEMORY, errno, NULL, 0, "could not map %zu bytes of shared memory",
						lsm_shared_size(options));
	}
	shared = lsm_shared_init(s->memory, options);
	s->used = calloc((size_t) shared->options.max_handles, sizeof(bool));
	s->journal = lsm_journal_log_new(env, shared->options.log_step);
	if (s->used == NULL || s->journal == NULL)
	{
		free_standalone(s);
		return lsm_no_memory(err);
	}
	status = attach(s, env, 0, db, err);
	if (status != LSM_OK)
	{
		free_standalone(s);
		return status;
	}
	s->first = *db;
	status = lsm_recover(*db, err);
	if (status != LSM_OK)
	{
		lsm_close(*db);
		*db = NULL;
	}
	return status;
}

LsmStatus
lsm_open_handle(LsmDb *db, LsmDb **other, LsmError *err)
{
	LsmStandalone *s = db->standalone;
	int handle = -1;
	LsmStatus status;

	if (s == NULL)
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "the store was not opened by lsm_open");
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	for (int i = 0; i < db->shared->options.max_handles && handle < 0; i++)
	{
		if (!s->used[i])
			handle = i;
	}
	if (handle >= 0)
		s->used[handle] = true;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (handle < 0)
		return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "all %d handles are in use", db->shared->options.max_handles);
	status = attach(s, db->env, handle, other, err);
	if (status != LSM_OK)
	{
		lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
		s->used[handle] = false;
		lsm_unlock(db->env, LSM_LOCK_STATE);
	}
	return status;
}

void
lsm_close(LsmDb *db)
{
	LsmStandalone *s;

	if (db == NULL)
		return;
	s = db->standalone;
	lsm_detach(db);
	if (s != NULL && s->first == db)
		free_standalone(s);
}
