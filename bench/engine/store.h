/*
 * store.h - the small interface behind which bench/engine measures different engines.
 *
 * A Store is one open database, a StoreHandle one thread's or process's access to
 * it.  Whatever fails ends the program with a message: a benchmark has nothing to
 * rescue.  Every engine gets the same settings as far as it knows them: no
 * compression, bloom filters of 10 bits a key, 4 MB of memtable, 8 MB of block
 * cache, files of 2 MB, blocks of 4 KB.
 */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Store Store;
typedef struct StoreHandle StoreHandle;

typedef struct StoreOps
{
	const char *name;
	bool processes; /* readers beside a writer are processes, not threads */
	/* Makes an empty store in dir, or opens what is there. */
	Store *(*create)(const char *dir);
	void (*close)(Store *store);
	/* Number 0 belongs to the thread that made the store; child: called in a process forked from that one. */
	StoreHandle *(*attach)(Store *store, int number, bool child);
	void (*detach)(StoreHandle *handle);

	/* n pairs as one batch; a NULL value deletes. */
	void (*write)(StoreHandle *handle, const char *const *keys, size_t key_len, const char *value, size_t value_len, int n,
				  bool sync);
	bool (*get)(StoreHandle *handle, const char *key, size_t key_len);
	/* Walks over up to n entries from key on (NULL: the first); returns how many there were. */
	uint64_t (*walk)(StoreHandle *handle, const char *key, size_t key_len, uint64_t n);
	/* Merges everything there is; NULL: nothing to merge. */
	void (*compact)(StoreHandle *handle);
	/* The i-th process that works in the background, 0 if there are no more; NULL: none. */
	pid_t (*worker)(Store *store, int i);
	/* True while background work is known to be due or running. */
	bool (*busy)(StoreHandle *handle); /* NULL: nobody knows */
} StoreOps;

/* ours.c: background work and readers beside a writer in threads, in processes. */
extern const StoreOps ours_threads;
extern const StoreOps ours_processes;
extern const StoreOps leveldb_store;
#ifdef HAVE_ROCKSDB
extern const StoreOps rocksdb_store;
#endif
#ifdef HAVE_LMDB
extern const StoreOps lmdb_store;
#endif

/* Threads or processes that work in the background, in ours: --workers. */
extern int background_workers;
#define MAX_WORKERS 8
/* Bytes: 4 MB but for opening after a crash. */
extern size_t memtable_size;

extern _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
