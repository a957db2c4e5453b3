/*
 * lmdb.c - the LMDB library.  A write that need not be synced is a transaction with MDB_NOSYNC set.
 */
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/engine/store.h"

struct Store
{
	MDB_env *env;
	MDB_dbi dbi;
	bool synced; /* how the environment is set */
};

struct StoreHandle
{
	Store *store;
	MDB_txn *read; /* reset between uses */
};

static void
must(int rc)
{
	if (rc != 0)
		die("LMDB: %s", mdb_strerror(rc));
}

static Store *
create(const char *dir)
{
	Store *store = calloc(1, sizeof(Store));
	MDB_txn *txn;

	mkdir(dir, 0755);
	must(mdb_env_create(&store->env));
	must(mdb_env_set_mapsize(store->env, (size_t) 8 << 30));
	must(mdb_env_open(store->env, dir, MDB_NOSYNC | MDB_NOTLS, 0644));
	must(mdb_txn_begin(store->env, NULL, 0, &txn));
	must(mdb_dbi_open(txn, NULL, 0, &store->dbi));
	must(mdb_txn_commit(txn));
	return store;
}

static void
close_store(Store *store)
{
	mdb_env_close(store->env);
	free(store);
}

static StoreHandle *
attach(Store *store, int number, bool child)
{
	StoreHandle *handle = calloc(1, sizeof(StoreHandle));

	(void) number;
	(void) child;
	handle->store = store;
	return handle;
}

static void
detach(StoreHandle *handle)
{
	mdb_txn_abort(handle->read);
	free(handle);
}

static void
write_pairs(StoreHandle *handle, const char *const *keys, size_t key_len, const char *value, size_t value_len, int n,
			bool sync)
{
	Store *store = handle->store;
	MDB_txn *txn;

	must(mdb_txn_begin(store->env, NULL, 0, &txn));
	/* inside the transaction, where one thread at a time is */
	if (store->synced != sync)
	{
		must(mdb_env_set_flags(store->env, MDB_NOSYNC, !sync));
		store->synced = sync;
	}
	for (int i = 0; i < n; i++)
	{
		MDB_val key = {key_len, (void *) keys[i]};
		MDB_val data = {value_len, (void *) value};
		int rc = value != NULL ? mdb_put(txn, store->dbi, &key, &data, 0) : mdb_del(txn, store->dbi, &key, NULL);

		if (rc != MDB_NOTFOUND)
			must(rc);
	}
	must(mdb_txn_commit(txn));
}

static void
begin_read(StoreHandle *handle)
{
	if (handle->read == NULL)
		must(mdb_txn_begin(handle->store->env, NULL, MDB_RDONLY, &handle->read));
	else
		must(mdb_txn_renew(handle->read));
}

static bool
get(StoreHandle *handle, const char *key_bytes, size_t key_len)
{
	MDB_val key = {key_len, (void *) key_bytes};
	MDB_val data;
	int rc;

	begin_read(handle);
	rc = mdb_get(handle->read, handle->store->dbi, &key, &data);
	mdb_txn_reset(handle->read);
	if (rc != MDB_NOTFOUND)
		must(rc);
	return rc == 0;
}

static uint64_t
walk(StoreHandle *handle, const char *key_bytes, size_t key_len, uint64_t n)
{
	MDB_val key = {key_len, (void *) key_bytes};
	MDB_val data;
	MDB_cursor *cursor;
	uint64_t seen = 0;
	uint64_t bytes = 0;
	int rc;

	begin_read(handle);
	must(mdb_cursor_open(handle->read, handle->store->dbi, &cursor));
	for (rc = mdb_cursor_get(cursor, &key, &data, key_bytes != NULL ? MDB_SET_RANGE : MDB_FIRST); rc == 0 && seen < n;
		 rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT))
	{
		seen++;
		bytes += data.mv_size;
	}
	if (rc != MDB_NOTFOUND)
		must(rc);
	mdb_cursor_close(cursor);
	mdb_txn_reset(handle->read);
	return bytes > 0 || seen == 0 ? seen : 0;
}

const StoreOps lmdb_store = {"LMDB", false, create, close_store, attach, detach, write_pairs, get, walk, NULL, NULL, NULL};
