/*
 * leveldb.c - the LevelDB library.
 */
#include <leveldb/c.h>
#include <stdlib.h>
#include <string.h>

#include "bench/engine/store.h"

struct Store
{
	leveldb_t *db;
	leveldb_options_t *options;
	leveldb_cache_t *cache;
	leveldb_filterpolicy_t *filter;
};

struct StoreHandle
{
	leveldb_t *db;
	leveldb_writeoptions_t *write;
	leveldb_readoptions_t *read;
	leveldb_writebatch_t *batch;
};

static void
must(char *err)
{
	if (err != NULL)
		die("LevelDB: %s", err);
}

static Store *
create(const char *dir)
{
	Store *store = calloc(1, sizeof(Store));
	char *err = NULL;

	store->options = leveldb_options_create();
	store->cache = leveldb_cache_create_lru(8 << 20);
	store->filter = leveldb_filterpolicy_create_bloom(10);
	leveldb_options_set_create_if_missing(store->options, 1);
	leveldb_options_set_compression(store->options, leveldb_no_compression);
	leveldb_options_set_write_buffer_size(store->options, memtable_size);
	leveldb_options_set_cache(store->options, store->cache);
	leveldb_options_set_filter_policy(store->options, store->filter);
	store->db = leveldb_open(store->options, dir, &err);
	must(err);
	return store;
}

static void
close_store(Store *store)
{
	leveldb_close(store->db);
	leveldb_options_destroy(store->options);
	leveldb_filterpolicy_destroy(store->filter);
	leveldb_cache_destroy(store->cache);
	free(store);
}

static StoreHandle *
attach(Store *store, int number, bool child)
{
	StoreHandle *handle = calloc(1, sizeof(StoreHandle));

	(void) number;
	(void) child;
	handle->db = store->db;
	handle->write = leveldb_writeoptions_create();
	handle->read = leveldb_readoptions_create();
	handle->batch = leveldb_writebatch_create();
	return handle;
}

static void
detach(StoreHandle *handle)
{
	leveldb_writeoptions_destroy(handle->write);
	leveldb_readoptions_destroy(handle->read);
	leveldb_writebatch_destroy(handle->batch);
	free(handle);
}

static void
write_pairs(StoreHandle *handle, const char *const *keys, size_t key_len, const char *value, size_t value_len, int n,
			bool sync)
{
	char *err = NULL;

	leveldb_writebatch_clear(handle->batch);
	for (int i = 0; i < n; i++)
	{
		if (value != NULL)
			leveldb_writebatch_put(handle->batch, keys[i], key_len, value, value_len);
		else
			leveldb_writebatch_delete(handle->batch, keys[i], key_len);
	}
	leveldb_writeoptions_set_sync(handle->write, sync);
	leveldb_write(handle->db, handle->write, handle->batch, &err);
	must(err);
}

static bool
get(StoreHandle *handle, const char *key, size_t key_len)
{
	char *err = NULL;
	size_t len;
	char *value = leveldb_get(handle->db, handle->read, key, key_len, &len, &err);

	must(err);
	leveldb_free(value);
	return value != NULL;
}

static uint64_t
walk(StoreHandle *handle, const char *key, size_t key_len, uint64_t n)
{
	leveldb_iterator_t *it = leveldb_create_iterator(handle->db, handle->read);
	char *err = NULL;
	uint64_t seen = 0;
	uint64_t bytes = 0;
	size_t len;

	if (key == NULL)
		leveldb_iter_seek_to_first(it);
	else
		leveldb_iter_seek(it, key, key_len);
	for (; leveldb_iter_valid(it) && seen < n; leveldb_iter_next(it))
	{
		seen++;
		leveldb_iter_value(it, &len);
		bytes += len;
	}
	leveldb_iter_get_error(it, &err);
	must(err);
	leveldb_iter_destroy(it);
	return bytes > 0 || seen == 0 ? seen : 0;
}

static void
compact(StoreHandle *handle)
{
	leveldb_compact_range(handle->db, NULL, 0, NULL, 0);
}

const StoreOps leveldb_store = {"LevelDB", false, create, close_store, attach, detach, write_pairs, get, walk, compact, NULL, NULL};
