/*
 * sight.c - looking at an id before it is written (sight.h).
 *
 * Versions and lock records come newest first.  Aborted ones do not count.  The
 * first version that is committed, or this transaction's own, ends the search:
 * whoever wrote it had waited for all that lies below it.  (But for KEY SHARE
 * locks, which an update does not wait for; they are never records, rowlock.c.)
 */
#include "postgres.h"

#include "fdw/sight.h"

#include "access/xact.h"

#define MANY_DEAD 32

typedef struct Look
{
	Sight *sight;
	LsmBuf *copy;
	bool unknown;
	bool no_memory;
} Look;

static void
block(Sight *sight, const LsmStamp *by)
{
	sight->blocked = true;
	sight->blocker = *by;
}

static bool
visit(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint)
{
	Look *look = arg;
	Sight *sight = look->sight;
	DocstoreFate fate = docstore_fate(&version->stamp, hint);

	if (fate == DOCSTORE_FATE_ABORTED)
	{
		sight->dead++;
		return true;
	}
	if (version->stamp.flags & LSM_STAMP_LOCK)
	{
		LockTupleMode its = docstore_rowlock_mode(payload);

		if (fate == DOCSTORE_FATE_OWN)
			sight->own_lock = Max(sight->own_lock, (int) its);
		else if (fate == DOCSTORE_FATE_RUNNING && sight->mode != SIGHT_NO_LOCK &&
				 docstore_rowlock_conflict((LockTupleMode) sight->mode, its))
			block(sight, &version->stamp);
		sight->dead += fate == DOCSTORE_FATE_COMMITTED;
		return true;
	}
	if (fate == DOCSTORE_FATE_RUNNING)
	{
		/* An update in progress leaves the id alone, and that is all that KEY SHARE asks. */
		if (sight->mode == LockTupleKeyShare && (version->stamp.flags & LSM_STAMP_DELETE) == 0)
			return true;
		block(sight, &version->stamp);
		/* What lies below is older than all that will be there; but a snapshot that does not show it is too old already. */
		return IsolationUsesXactSnapshot();
	}
	if (fate == DOCSTORE_FATE_UNKNOWN)
	{
		look->unknown = true;
		sight->version = *version;
		return false;
	}
	sight->any = true;
	sight->exists = (version->stamp.flags & LSM_STAMP_DELETE) == 0;
	sight->fate = fate;
	sight->version = *version;
	if (fate == DOCSTORE_FATE_OWN)
		sight->own_lock = Max(sight->own_lock, (int) LockTupleNoKeyExclusive);
	if (look->copy != NULL && sight->exists && !lsm_buf_set(look->copy, payload.data, payload.len))
		look->no_memory = true;
	return false;
}

static void
begin(Sight *sight, int mode)
{
	memset(sight, 0, sizeof(*sight));
	sight->mode = mode;
	sight->own_lock = SIGHT_NO_LOCK;
}

void
doc_look(const DocumentKey *key, int mode, LsmBuf *copy, const LsmVersion *known, Sight *sight)
{
	Look look = {.sight = sight, .copy = copy};
	LsmSlice slice = document_key_slice(key);
	LsmError err;

	begin(sight, mode);
	if (known != NULL && copy == NULL)
	{
		docstore_check(lsm_versions_known(docstore_db(), slice, known, visit, &look, &sight->mark, &err), &err);
		/* Rolled back since: an older one counts. */
		if (!sight->any && !sight->blocked && !look.unknown)
			known = NULL;
	}
	if (known == NULL || copy != NULL)
	{
		begin(sight, mode);
		docstore_check(lsm_versions(docstore_db(), slice, visit, &look, &sight->mark, &err), &err);
	}
	if (look.no_memory)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (look.unknown)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("transaction %llu of a stored document is too old to look up",
						(unsigned long long) sight->version.stamp.xid)));
	if (mode != SIGHT_NO_LOCK)
	{
		docstore_rowlock_look(document_key_slice(key), (LockTupleMode) mode, &sight->locks);
		sight->own_lock = Max(sight->own_lock, sight->locks.own);
		if (sight->locks.conflict && !sight->blocked)
			block(sight, &sight->locks.holder);
	}
}

LsmStatus
doc_sight_recheck(const DocumentKey *key, const Sight *sight, LsmError *err)
{
	LsmStatus status;

	if (sight->mode != SIGHT_NO_LOCK && !docstore_rowlock_unchanged(document_key_slice(key), &sight->locks))
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "a document was locked");
	status = lsm_recheck(docstore_db(), document_key_slice(key), &sight->mark, err);
	/* Else who changes a document again and again, and rolls that back, has ever more to walk through. */
	if (status == LSM_OK && sight->dead > MANY_DEAD)
		lsm_step_over(docstore_db(), document_key_slice(key), &sight->mark, docstore_dead);
	return status;
}

/* ---- one version ---- */

typedef struct Wanted
{
	uint64 seen;
	LsmBuf *value;
	bool found;
	bool no_memory;
} Wanted;

static bool
visit_wanted(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint)
{
	Wanted *wanted = arg;

	if ((version->stamp.flags & (LSM_STAMP_LOCK | LSM_STAMP_DELETE)) || !doc_same_version(version->seq, wanted->seen))
		return true;
	wanted->found = true;
	wanted->no_memory = !lsm_buf_set(wanted->value, payload.data, payload.len);
	return false;
}

void
doc_read_version(const DocumentKey *key, uint64 seen, LsmBuf *value)
{
	Wanted wanted = {.seen = seen, .value = value};
	LsmError err;

	docstore_check(lsm_versions(docstore_db(), document_key_slice(key), visit_wanted, &wanted, NULL, &err), &err);
	if (wanted.no_memory)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (!wanted.found)
		elog(ERROR, "could not find the version of a document that was read");
}
