/*
 * indexers.c - the list of databases with an indexer (indexers.h).
 *
 * A view is made: its transaction wants an indexer after its commit.  An indexer
 * that would end for want of views first withdraws the wish, then looks for
 * views once more, so a wish that comes in between is either seen by that look
 * or stays.
 */
#include "postgres.h"

#include "store/indexers.h"
#include "store/shmem.h"

static DocstoreIndexers *
indexers(void)
{
	return &docstore_shared->indexers;
}

void
docstore_indexers_init(DocstoreIndexers *list)
{
	SpinLockInit(&list->mutex);
	list->look = true;
}

/* The slot of a database, a new one if make; -1 if there is none.  The mutex is held. */
static int
slot_of(Oid database, bool make)
{
	int free = -1;

	for (int i = 0; i < DOCSTORE_MAX_INDEXERS; i++)
	{
		if (indexers()->slots[i].database == database)
			return i;
		if (free < 0 && indexers()->slots[i].database == InvalidOid)
			free = i;
	}
	if (make && free >= 0)
		indexers()->slots[free].database = database;
	return make ? free : -1;
}

/* Frees a slot that says nothing any more.  The mutex is held. */
static void
tidy(int i)
{
	if (!indexers()->slots[i].wanted && indexers()->slots[i].holds == 0 && indexers()->slots[i].latch == NULL)
		indexers()->slots[i].database = InvalidOid;
}

void
docstore_want_indexer(Oid database)
{
	Latch *latch;
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, true);
	if (i >= 0)
		indexers()->slots[i].wanted = true;
	else
		indexers()->look = true;
	latch = i >= 0 && indexers()->slots[i].latch != NULL ? indexers()->slots[i].latch : indexers()->launcher;
	if (latch != NULL)
		SetLatch(latch);
	SpinLockRelease(&indexers()->mutex);
}

bool
docstore_hold_indexer(Oid database, bool first)
{
	bool runs;
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, first);
	runs = i >= 0 && indexers()->slots[i].latch != NULL;
	if (i >= 0 && first)
		indexers()->slots[i].holds++;
	if (runs)
		SetLatch(indexers()->slots[i].latch);
	SpinLockRelease(&indexers()->mutex);
	return !runs;
}

void
docstore_release_indexer(Oid database)
{
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, false);
	if (i >= 0 && indexers()->slots[i].holds > 0)
	{
		indexers()->slots[i].holds--;
		tidy(i);
	}
	if (indexers()->launcher != NULL)
		SetLatch(indexers()->launcher);
	SpinLockRelease(&indexers()->mutex);
}

void
docstore_indexers_serve(Latch *latch)
{
	SpinLockAcquire(&indexers()->mutex);
	indexers()->launcher = latch;
	SpinLockRelease(&indexers()->mutex);
}

bool
docstore_indexers_look(void)
{
	bool look;

	SpinLockAcquire(&indexers()->mutex);
	look = indexers()->look;
	indexers()->look = false;
	SpinLockRelease(&indexers()->mutex);
	return look;
}

int
docstore_indexers_wanted(Oid databases[DOCSTORE_MAX_INDEXERS])
{
	int n = 0;

	SpinLockAcquire(&indexers()->mutex);
	for (int i = 0; i < DOCSTORE_MAX_INDEXERS; i++)
		if (indexers()->slots[i].database != InvalidOid && indexers()->slots[i].wanted &&
			indexers()->slots[i].holds == 0 && indexers()->slots[i].latch == NULL)
			databases[n++] = indexers()->slots[i].database;
	SpinLockRelease(&indexers()->mutex);
	return n;
}

void
docstore_forget_indexer(Oid database)
{
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, false);
	if (i >= 0)
	{
		indexers()->slots[i].wanted = false;
		tidy(i);
	}
	SpinLockRelease(&indexers()->mutex);
}

bool
docstore_indexer_begin(Oid database, Latch *latch)
{
	bool may;
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, true);
	may = i >= 0 && indexers()->slots[i].holds == 0 && indexers()->slots[i].latch == NULL;
	if (may)
		indexers()->slots[i].latch = latch;
	SpinLockRelease(&indexers()->mutex);
	return may;
}

void
docstore_indexer_end(Oid database)
{
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, false);
	if (i >= 0)
	{
		indexers()->slots[i].latch = NULL;
		tidy(i);
	}
	if (indexers()->launcher != NULL)
		SetLatch(indexers()->launcher);
	SpinLockRelease(&indexers()->mutex);
}

void
docstore_unwant_indexer(Oid database)
{
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, false);
	if (i >= 0)
		indexers()->slots[i].wanted = false;
	SpinLockRelease(&indexers()->mutex);
}

bool
docstore_indexer_held(Oid database)
{
	bool held;
	int i;

	SpinLockAcquire(&indexers()->mutex);
	i = slot_of(database, false);
	held = i >= 0 && indexers()->slots[i].holds > 0;
	SpinLockRelease(&indexers()->mutex);
	return held;
}
