/*
 * shmem.c - shared memory and its locks.
 *
 *     DocstoreShared | env's waits | row locks | LsmShared (memtables, block cache, pins)
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "engine/env_pg.h"
#include "store/rowlock.h"
#include "store/shmem.h"
#include "store/store.h"

DocstoreShared *docstore_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;
static LsmEnv *env = NULL;

void
docstore_engine_options(LsmOptions *options)
{
	lsm_options_init(options);
	options->memtable_size = (size_t) docstore_memtable_size_kb * 1024;
	options->memtable_slots = docstore_memtable_slots;
	options->block_cache_size = (size_t) docstore_block_cache_size_kb * 1024;
	options->table_cache_size = (size_t) docstore_table_cache_size_kb * 1024;
	options->max_handles = MaxBackends;
	options->file_size = (size_t) docstore_table_size_kb * 1024;
	options->level1_size = 8 * options->file_size;
	options->max_compactions = docstore_max_compactions;
	options->seek_compaction = docstore_seek_compaction;
	options->table.compression = (LsmCompression) docstore_compression;
	options->level0_compression = docstore_compression == LSM_COMPRESS_ZSTD ? LSM_COMPRESS_SNAPPY : (LsmCompression) docstore_compression;
	options->table.stamped = true;
}

static Size
env_offset(void)
{
	return CACHELINEALIGN(sizeof(DocstoreShared));
}

static Size
rowlock_offset(void)
{
	return env_offset() + CACHELINEALIGN(lsm_env_pg_shared_size());
}

static Size
store_offset(void)
{
	return rowlock_offset() + CACHELINEALIGN(docstore_rowlock_shared_size());
}

static Size
total_size(void)
{
	LsmOptions options;

	docstore_engine_options(&options);
	return add_size(store_offset(), lsm_shared_size(&options));
}

static void
request(void)
{
	if (previous_request_hook != NULL)
		previous_request_hook();
	RequestAddinShmemSpace(total_size());
	RequestNamedLWLockTranche("docstore", LSM_NUM_LOCKS);
}

static void
startup(void)
{
	bool found;

	if (previous_startup_hook != NULL)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	docstore_shared = ShmemInitStruct("docstore", total_size(), &found);
	if (!found)
	{
		LsmOptions options;

		docstore_engine_options(&options);
		memset(docstore_shared, 0, sizeof(*docstore_shared));
		docstore_shared->env_offset = env_offset();
		docstore_shared->rowlock_offset = rowlock_offset();
		docstore_shared->store_offset = store_offset();
		pg_atomic_init_u32(&docstore_shared->compactor_pid, 0);
		pg_atomic_init_u32(&docstore_shared->attended, 0);
		pg_atomic_init_u32(&docstore_shared->backups, 0);
		SpinLockInit(&docstore_shared->mutex);
		docstore_workers_init(&docstore_shared->workers);
		lsm_env_pg_shared_init((char *) docstore_shared + docstore_shared->env_offset);
		docstore_rowlock_shared_init((char *) docstore_shared + docstore_shared->rowlock_offset);
		lsm_shared_init((char *) docstore_shared + docstore_shared->store_offset, &options);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
docstore_shmem_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

LsmShared *
docstore_lsm_shared(void)
{
	return (LsmShared *) ((char *) docstore_shared + docstore_shared->store_offset);
}

void
docstore_set_trouble(const char *text)
{
	SpinLockAcquire(&docstore_shared->mutex);
	strlcpy(docstore_shared->trouble, text, sizeof(docstore_shared->trouble));
	SpinLockRelease(&docstore_shared->mutex);
}

bool
docstore_get_trouble(char *text, Size size)
{
	SpinLockAcquire(&docstore_shared->mutex);
	strlcpy(text, docstore_shared->trouble, size);
	SpinLockRelease(&docstore_shared->mutex);
	return text[0] != '\0';
}

void
docstore_require_preload(void)
{
	if (docstore_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("docstore must be loaded via shared_preload_libraries"),
				 errhint("Set shared_preload_libraries = 'docstore' in postgresql.conf and restart the server.")));
}

LsmEnv *
docstore_env(void)
{
	docstore_require_preload();
	if (env == NULL)
		env = lsm_env_pg_attach((char *) docstore_shared + docstore_shared->env_offset,
								GetNamedLWLockTranche("docstore"));
	return env;
}
