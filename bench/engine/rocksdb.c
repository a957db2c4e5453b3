/*
 * rocksdb.c - the RocksDB library.
 */
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#include "bench/engine/store.h"

struct Store
{
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_block_based_table_options_t *table;
	rocksdb_cache_t *cache;
};

struct StoreHandle
{
	rocksdb_t *db;
	rocksdb_writeoptions_t *write;
	rocksdb_readoptions_t *read;
	rocksdb_writebatch_t *batch;
};

static void
must(char *err)
{
	if (err != NULL)
		die("RocksDB: %s", err);
}

static Store *
create(const char *dir)
{
	Store *store = calloc(1, sizeof(Store));
	char *err = NULL;

	store->options = rocksdb_options_create();
	store->table = rocksdb_block_based_options_create();
	store->cache = rocksdb_cache_create_lru(8 << 20);
	rocksdb_block_based_options_set_block_cache(store->table, store->cache);
	rocksdb_block_based_options_set_filter_policy(store->table, rocksdb_filterpolicy_create_bloom_full(10));
	rocksdb_options_set_block_based_table_factory(store->options, store->table);
	rocksdb_options_set_create_if_missing(store->options, 1);
	rocksdb_options_set_compression(store->options, rocksdb_no_compression);
	rocksdb_options_set_write_buffer_size(store->options, memtable_size);
	rocksdb_options_set_target_file_size_base(store->options, 2 << 20);
	rocksdb_options_set_max_bytes_for_level_base(store->options, 10 << 20);
	store->db = rocksdb_open(store->options, dir, &err);
	must(err);
	return store;
}

static void
close_store(Store *store)
{
	rocksdb_close(store->db);
	rocksdb_options_destroy(store->options);
	rocksdb_block_based_options_destroy(store->table);
	rocksdb_cache_destroy(store->cache);
	free(store);
}

static StoreHandle *
attach(Store *store, int number, bool child)
{
	StoreHandle *handle = calloc(1, sizeof(StoreHandle));

	(void) number;
	(void) child;
	handle->db = store->db;
	handle->write = rocksdb_writeoptions_create();
	handle->read = rocksdb_readoptions_create();
	handle->batch = rocksdb_writebatch_create();
	return handle;
}

static void
detach(StoreHandle *handle)
{
	rocksdb_writeoptions_destroy(handle->write);
	rocksdb_readoptions_destroy(handle->read);
	rocksdb_writebatch_destroy(handle->batch);
	free(handle);
}

static void
write_pairs(StoreHandle *handle, const char *const *keys, size_t key_len, const char *value, size_t value_len, int n,
			bool sync)
{
	char *err = NULL;

	rocksdb_writebatch_clear(handle->batch);
	for (int i = 0; i < n; i++)
	{
		if (value != NULL)
			rocksdb_writebatch_put(handle->batch, keys[i], key_len, value, value_len);
		else
			rocksdb_writebatch_delete(handle->batch, keys[i], key_len);
	}
	rocksdb_writeoptions_set_sync(handle->write, sync);
	rocksdb_write(handle->db, handle->write, handle->batch, &err);
	must(err);
}

static bool
get(StoreHandle *handle, const char *key, size_t key_len)
{
	char *err = NULL;
	rocksdb_pinnableslice_t *value = rocksdb_get_pinned(handle->db, handle->read, key, key_len, &err);

	must(err);
	if (value == NULL)
		return false;
	rocksdb_pinnableslice_destroy(value);
	return true;
}

static uint64_t
walk(StoreHandle *handle, const char *key, size_t key_len, uint64_t n)
{
	rocksdb_iterator_t *it = rocksdb_create_iterator(handle->db, handle->read);
	char *err = NULL;
	uint64_t seen = 0;
	uint64_t bytes = 0;
	size_t len;

	if (key == NULL)
		rocksdb_iter_seek_to_first(it);
	else
		rocksdb_iter_seek(it, key, key_len);
	for (; rocksdb_iter_valid(it) && seen < n; rocksdb_iter_next(it))
	{
		seen++;
		rocksdb_iter_value(it, &len);
		bytes += len;
	}
	rocksdb_iter_get_error(it, &err);
	must(err);
	rocksdb_iter_destroy(it);
	return bytes > 0 || seen == 0 ? seen : 0;
}

static void
compact(StoreHandle *handle)
{
	rocksdb_compact_range(handle->db, NULL, 0, NULL, 0);
}

static bool
busy(StoreHandle *handle)
{
	static const char *const properties[] = {"rocksdb.num-running-compactions", "rocksdb.num-running-flushes", "rocksdb.compaction-pending",
											 "rocksdb.mem-table-flush-pending"};

	for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
	{
		uint64_t value;

		if (rocksdb_property_int(handle->db, properties[i], &value) == 0 && value > 0)
			return true;
	}
	return false;
}

const StoreOps rocksdb_store = {"RocksDB", false, create, close_store, attach, detach, write_pairs, get, walk, compact, NULL, busy};
