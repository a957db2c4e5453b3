/*
 * store.h - the engine inside PostgreSQL: shared memory, settings, this backend's handle, errors.
 *
 * Everything in fdw/ and worker/ reaches the engine through here.
 */
#ifndef DOCSTORE_STORE_H
#define DOCSTORE_STORE_H

#include "postgres.h"

#include "engine/db.h"

/* Settings (store/settings.c; documented in docs/settings.md).  Sizes in kB where PostgreSQL's unit is kB. */
extern int docstore_memtable_size_kb;    /* docstore.memtable_size, postmaster */
extern int docstore_memtable_slots;      /* docstore.memtable_slots, postmaster */
extern int docstore_block_cache_size_kb; /* docstore.block_cache_size, postmaster */
extern int docstore_table_cache_size_kb; /* docstore.table_cache_size, per process; postmaster */
extern int docstore_compression;         /* docstore.compression: none, snappy, zstd; postmaster */
extern bool docstore_seek_compaction;    /* docstore.seek_compaction; postmaster */
extern int docstore_table_size_kb;       /* docstore.table_size, kB; postmaster */
extern int docstore_max_compactions;     /* docstore.max_compactions; postmaster */
extern int docstore_background_rate_kb;  /* docstore.background_rate, kB/s, 0 no limit; sighup */
extern int docstore_max_wal_kb;          /* docstore.max_wal_retained: flush when the memtables hold WAL back further; sighup */
extern int docstore_flush_delay_ms;      /* docstore.flush_delay: flush a memtable that is older; sighup */
extern int docstore_view_block_rows;     /* docstore.view_block_rows: of views made from now on; user */
extern int docstore_view_wait_ms;        /* docstore.view_wait: statements that read views wait for them, 0 not; user */
extern bool docstore_ignore_missing_wal; /* docstore.ignore_missing_wal: come up without WAL that is gone; sighup */
extern void docstore_define_settings(void);

/* Called from _PG_init; chains shmem_request_hook and shmem_startup_hook. */
extern void docstore_shmem_init(void);
/* ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE with the hint unless loaded by shared_preload_libraries. */
extern void docstore_require_preload(void);

/*
 * This backend's handle, attached at the first call and released at process
 * exit.  Waits, interruptibly, for the compactor's recovery; throws the kept
 * error if that failed, and a clear one on a standby.
 */
extern LsmDb *docstore_db(void);
/* The same without waiting for recovery: for the compactor, which does it, and for docstore.status. */
extern LsmDb *docstore_attach(void);
/* Gives the handle up; the next call above attaches again. */
extern void docstore_detach(void);
extern LsmEnv *docstore_env(void);
/* What ends this process's long work; by default a cancel or terminate. */
extern void docstore_set_should_stop(bool (*check)(void *arg));

/* The one place that turns a status into an ereport(ERROR) with its SQLSTATE.  LSM_INTERRUPTED runs
 * CHECK_FOR_INTERRUPTS first. */
extern void docstore_throw(const LsmError *err) __attribute__((noreturn));
static inline void
docstore_check(LsmStatus status, const LsmError *err)
{
	if (unlikely(status != LSM_OK))
		docstore_throw(err);
}

/*
 * User keys: kind 1 byte, database oid 4 bytes, storage id 8 bytes (both
 * big-endian, so that a collection's keys are neighbours), then what the kind says.
 */
#define DOCSTORE_KEY_DOCUMENT 'd'        /* id bytes */
#define DOCSTORE_KEY_CHANGE 'c'          /* etag, 8 bytes big-endian (feed.h) */
#define DOCSTORE_KEY_PURGED 'y'          /* nothing: up to where this storage's changes may go (purge.h) */
#define DOCSTORE_KEY_DROPPED 'x'         /* nothing: this storage id is dropped as of the version's commit */
#define DOCSTORE_KEY_VIEW 'v'            /* a view's row (view/entry.h) */
#define DOCSTORE_KEY_BACK 'b'            /* the rows of a document in a view (view/entry.h) */
#define DOCSTORE_KEY_MAPPED 'm'          /* a row that a view reduces (view/entry.h) */
#define DOCSTORE_KEY_PARTIAL 'p'         /* a partial result of a view (view/tree.h) */
#define DOCSTORE_STORAGE_KINDS "dcyvbmp" /* what a storage id may have; all goes when it is dropped */
#define DOCSTORE_KEY_PREFIX 13
#define DOCSTORE_MAX_ID 1024 /* bytes */

/* dst must hold DOCSTORE_KEY_PREFIX bytes. */
extern void docstore_key_prefix(char *dst, char kind, Oid database, uint64 storage);
/* The first prefix behind all keys of this one (exclusive upper bound of the collection's range). */
extern void docstore_key_prefix_end(char *dst, char kind, Oid database, uint64 storage);

/* Writes a small batch, waiting for room, and frees it.  With no lock held.  Throws. */
extern void docstore_write_batch(LsmBatch *batch);

/* Wakes the compactor (rotation, drops, shutdown of a backend that left work). */
extern void docstore_wake_compactor(void);

#endif
