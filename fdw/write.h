/*
 * write.h - changes documents as PostgreSQL changes rows: two writers of one document never lose an update.
 *
 * The head of write.c has the algorithm.  Functions here throw; none is called
 * with a lock of the engine's held.
 */
#ifndef DOCSTORE_WRITE_H
#define DOCSTORE_WRITE_H

#include "postgres.h"

#include "nodes/lockoptions.h"
#include "utils/snapshot.h"

#include "fdw/collection.h"
#include "fdw/document.h"
#include "store/txn.h"

/* How many documents one call may insert: each may need a stripe lock of its own. */
#define DOCSTORE_MAX_BATCH 64

/* How many bytes of documents a batch may hold before the last one is added: such a batch always fits into a memtable. */
static inline Size
docstore_batch_bytes(void)
{
	return Min((Size) 1024 * 1024, (Size) docstore_memtable_size_kb * 1024 / 8);
}

/* What a statement's writes have in common. */
typedef struct DocWriter
{
	uint64 storage;
	uint64 generation;           /* of what was known of the collection (docstore_collection_generation) */
	bool tracked;                /* its changes are recorded */
	const char *collection;      /* for messages */
	CommandId cid;               /* the writing command's */
	Snapshot snapshot;           /* what it reads with */
	LsmBuf found;                /* an older version's value, where a function says so; malloc'ed */
	const DocumentKey *deciding; /* of what is written: what an error that is thrown is about */
} DocWriter;

/*
 * The writer lies in memory of the current context, or longer; found is freed when
 * that context goes.  The collection, locked by the caller, stays as long.
 */
extern void docstore_writer_init(DocWriter *writer, const DocCollection *collection, CommandId cid, Snapshot snapshot);

typedef enum DocResult
{
	DOC_DONE,
	DOC_EXISTS, /* insert: there is such a document, and the caller said that is no error */
	DOC_NEWER,  /* somebody committed a newer version than was seen: it is locked now, and in found; nothing else was done */
	DOC_GONE,   /* lock, update, delete: deleted meanwhile by a committed transaction */
	DOC_SELF,   /* update, delete: changed before by this very command; do nothing.  lock: or by a later one */
	DOC_LOCKED  /* lock: somebody else has it, and the caller did not want to wait */
} DocResult;

/* DOC_DONE or, only with skip, DOC_EXISTS; 23505 without. */
extern DocResult docstore_insert(DocWriter *writer, const DocumentKey *key, const Jsonb *doc, TimestampTz modified,
								 bool skip, uint64 *etag);
/* All or an error; n <= DOCSTORE_MAX_BATCH. */
extern void docstore_insert_many(DocWriter *writer, int n, const DocumentKey *keys, Jsonb *const *docs,
								 TimestampTz modified, uint64 *etags);
/*
 * Locks a document for the rest of the transaction, `seen` being the version
 * that the snapshot showed.  READ COMMITTED: DOC_DONE, DOC_NEWER, DOC_GONE;
 * otherwise 40001 where those two would be.
 */
extern DocResult docstore_lock(DocWriter *writer, const DocumentKey *key, uint64 seen, LockTupleMode mode,
							   LockWaitPolicy wait, LsmVersion *newer);
/*
 * Changes the version `seen` (of its number DOCUMENT_TID_MASK is enough; the stamp
 * need only be there if it says a generation).
 * READ COMMITTED: DOC_NEWER or DOC_GONE if it is not the newest any more;
 * otherwise 40001.  new_key NULL: the id stays; else the document moves, which
 * may be 23505.
 */
extern DocResult docstore_update(DocWriter *writer, const DocumentKey *key, const LsmVersion *seen, const DocumentKey *new_key,
								 const Jsonb *doc, TimestampTz modified, uint64 *etag, LsmVersion *newer);
/* *version is the deleted one (its value goes to found if want_found), or the newer one. */
extern DocResult docstore_delete(DocWriter *writer, const DocumentKey *key, const LsmVersion *seen, bool want_found,
								 LsmVersion *version);
/*
 * Changes n <= DOCSTORE_MAX_BATCH documents, or deletes them (docs NULL), if of each the version that was seen is the
 * newest and nobody else is at it.  Else false, and nothing was done: they are to be changed one by one.
 */
extern bool docstore_change_many(DocWriter *writer, int n, const DocumentKey *keys, const LsmVersion *seen,
								 Jsonb *const *docs, TimestampTz modified);
/* Inserts or replaces.  With expected: 40001 unless the newest etag is that (0: no such document). */
extern uint64 docstore_put_document(DocWriter *writer, const DocumentKey *key, const Jsonb *doc, TimestampTz modified,
									const uint64 *expected);
/* Marks a storage id as dropped as of this transaction's commit.  The collection is locked AccessExclusive. */
extern void docstore_write_dropped(uint64 storage, CommandId cid);

#endif
