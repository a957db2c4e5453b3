/*
 * ours.c - the engine standalone.  Threads, or child processes, do the background work.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/engine/store.h"
#include "engine/handle.h"

#define BACKGROUND_HANDLE 63 /* and those before */

struct Store
{
	LsmEnv *env;
	LsmDb *db;
	pthread_t threads[MAX_WORKERS];
	pid_t children[MAX_WORKERS];
	atomic_bool stop;
	bool processes;
};

struct StoreHandle
{
	Store *store;
	LsmDb *db;
	LsmBatch batch;
	LsmBuf value;
	LsmScan *scan;
};

static void
must(LsmStatus status, const LsmError *err)
{
	if (status != LSM_OK)
		die("ours: %s: %s", err->file, err->text);
}

static void
work_on(LsmDb *db, const atomic_bool *stop)
{
	LsmEnv *env = db->env;
	LsmError err;

	while (!atomic_load(stop))
	{
		bool did;

		env->ops->wait_prepare(env, LSM_WAIT_WORK);
		must(lsm_work(db, &did, &err), &err);
		if (!did)
			env->ops->wait(env, LSM_WAIT_WORK, 10);
		env->ops->wait_end(env, LSM_WAIT_WORK);
	}
}

static void *
work_thread(void *arg)
{
	Store *store = arg;
	LsmError err;
	LsmDb *db;

	must(lsm_open_handle(store->db, &db, &err), &err);
	work_on(db, &store->stop);
	lsm_detach(db);
	return NULL;
}

static LsmDb *
attach_child(Store *store, int number)
{
	LsmAttach attach = {
		.env = store->env, .shared = store->db->shared, .journal = store->db->journal, .handle = number};
	LsmError err;
	LsmDb *db;

	must(lsm_attach(&attach, &db, &err), &err);
	return db;
}

static Store *
create(const char *dir, bool processes)
{
	Store *store = calloc(1, sizeof(Store));
	LsmOptions options;
	LsmError err;

	lsm_options_init_leveldb(&options);
	options.table.compression = LSM_COMPRESS_NONE;
	options.level0_compression = LSM_COMPRESS_NONE;
	options.table.bloom_bits = 10;
	options.table.bloom_prime = true;
	options.log_step = 1 << 20;
	options.max_compactions = background_workers;
	options.memtable_size = memtable_size;
	must(lsm_env_posix_open(dir, &store->env, &err), &err);
	must(lsm_open(store->env, &options, &store->db, &err), &err);
	store->processes = processes;
	for (int i = 0; i < background_workers; i++)
	{
		if (!processes)
		{
			if (pthread_create(&store->threads[i], NULL, work_thread, store) != 0)
				die("could not start a thread");
			continue;
		}
		store->children[i] = fork();
		if (store->children[i] < 0)
			die("could not fork");
		if (store->children[i] == 0)
		{
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			work_on(attach_child(store, BACKGROUND_HANDLE - i), &store->stop);
		}
	}
	return store;
}

static Store *
create_threads(const char *dir)
{
	return create(dir, false);
}

static Store *
create_processes(const char *dir)
{
	return create(dir, true);
}

static void
close_store(Store *store)
{
	atomic_store(&store->stop, true);
	for (int i = 0; i < background_workers; i++)
	{
		if (store->processes)
		{
			kill(store->children[i], SIGKILL);
			waitpid(store->children[i], NULL, 0);
		}
		else
			pthread_join(store->threads[i], NULL);
	}
	lsm_close(store->db);
	lsm_env_posix_close(store->env);
	free(store);
}

static StoreHandle *
attach(Store *store, int number, bool child)
{
	StoreHandle *handle = calloc(1, sizeof(StoreHandle));
	LsmError err;

	handle->store = store;
	if (number == 0)
		handle->db = store->db;
	else if (child)
		handle->db = attach_child(store, number);
	else
		must(lsm_open_handle(store->db, &handle->db, &err), &err);
	return handle;
}

static void
detach(StoreHandle *handle)
{
	lsm_scan_close(handle->scan);
	if (handle->db != handle->store->db)
		lsm_detach(handle->db);
	lsm_batch_free(&handle->batch);
	lsm_buf_free(&handle->value);
	free(handle);
}

static void
write_pairs(StoreHandle *handle, const char *const *keys, size_t key_len, const char *value, size_t value_len, int n,
			bool sync)
{
	LsmStatus status;
	LsmError err;

	lsm_batch_clear(&handle->batch);
	for (int i = 0; i < n; i++)
	{
		if (value != NULL ? !lsm_batch_put(&handle->batch, lsm_slice(keys[i], key_len), lsm_slice(value, value_len))
						  : !lsm_batch_delete(&handle->batch, lsm_slice(keys[i], key_len)))
			die("out of memory");
	}
	do
	{
		must(lsm_make_room(handle->db, handle->batch.memtable_cost, &err), &err);
		status = lsm_write(handle->db, &handle->batch, sync, NULL, &err);
	} while (status == LSM_BUSY);
	must(status, &err);
}

static LsmRead
everything(StoreHandle *handle)
{
	return (LsmRead){.max_seq = atomic_load(&handle->db->shared->last_seq)};
}

static bool
get(StoreHandle *handle, const char *key, size_t key_len)
{
	LsmRead read = everything(handle);
	LsmError err;
	LsmStatus status = lsm_get(handle->db, &read, lsm_slice(key, key_len), &handle->value, NULL, &err);

	if (status != LSM_OK && status != LSM_NOT_FOUND)
		must(status, &err);
	return status == LSM_OK;
}

static uint64_t
walk(StoreHandle *handle, const char *key, size_t key_len, uint64_t n)
{
	LsmRead read = everything(handle);
	uint64_t seen = 0;
	uint64_t bytes = 0;
	LsmScan *scan;
	LsmError err;

	must(lsm_scan_open(handle->db, &read, lsm_slice("", 0), lsm_slice("", 0), &scan, &err), &err);
	if (key == NULL)
		lsm_scan_first(scan);
	else
		lsm_scan_seek(scan, lsm_slice(key, key_len));
	for (; scan->valid && seen < n; lsm_scan_next(scan))
	{
		seen++;
		bytes += scan->value.len;
	}
	must(scan->status, &scan->err);
	lsm_scan_close(scan);
	return bytes > 0 || seen == 0 ? seen : 0;
}

static void
compact(StoreHandle *handle)
{
	LsmError err;

	must(lsm_compact_range(handle->db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
}

static pid_t
worker(Store *store, int i)
{
	return i < background_workers ? store->children[i] : 0;
}

static bool
busy(StoreHandle *handle)
{
	LsmMerge merges[LSM_MAX_MERGES];
	LsmStats stats;
	LsmError err;

	must(lsm_stats(handle->db, &stats, &err), &err);
	return stats.memtables_waiting > 0 || stats.compaction_debt > 0 || atomic_load(&handle->db->shared->worker) != 0 ||
		   lsm_merges(handle->db, merges) > 0;
}

const StoreOps ours_threads = {"ours", false, create_threads, close_store, attach, detach, write_pairs, get, walk, compact, worker, busy};
const StoreOps ours_processes = {"ours, processes", true, create_processes, close_store, attach, detach, write_pairs, get, walk, compact, worker, busy};
