/*
 * backup.c - what a base backup needs of the store.
 *
 * A backup (pg_basebackup, or pg_backup_start and some tool that copies) is a
 * checkpoint, then a copy of the directory, file by file, and the WAL from that
 * checkpoint's redo pointer to the copy's end.  When it is restored, the store in
 * it must come to hold every document committed by then.  For this
 *
 * - files stay while a backup is being taken, so that the store's state at its
 *   beginning is in the copy, and a whole one can be found (engine/recover.c).
 *
 * - WAL from the position that the manifest names must be in the backup, too: the
 *   position must not be behind the checkpoint's redo pointer.  There is no
 *   checkpoint hook; but a checkpoint waits, before it completes, for every
 *   process that has set DELAY_CHKPT_COMPLETE.  So the compactor always has it
 *   set, and lets a checkpoint pass by taking a new virtual transaction id, for
 *   the checkpointer waits for the ids that it found.  If a backup is being
 *   taken, memtables from before the redo pointer are flushed first.
 *
 *   DELAY_CHKPT_START around look and pass closes the gap between the two: a
 *   checkpoint whose redo pointer we did not see waits there, and then finds the
 *   new id.
 *
 * - the restored server has no slot, so WAL would be removed by the checkpoint that
 *   ends its recovery, before the compactor starts: journal_wal.c makes one when
 *   redo begins.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"
#include "storage/spin.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "store/backup.h"
#include "store/compat.h"
#include "store/shmem.h"

#define LONGEST_MS 60000 /* that a checkpoint waits: a disk that is full must not keep the server from checkpoints */

static object_access_hook_type next_object_access_hook = NULL;

/* ---- is one being taken? ---- */

/* Of this session, by pg_backup_start. */
static bool counted = false;

static void
uncount(int code, Datum arg)
{
	if (counted)
		pg_atomic_fetch_sub_u32(&docstore_shared->backups, 1);
	counted = false;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if ((event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT) && get_backup_status() == SESSION_BACKUP_NONE)
		uncount(0, (Datum) 0);
}

/* Called before pg_backup_start runs. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	static bool registered = false;

	if (next_object_access_hook)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);
	if (access != OAT_FUNCTION_EXECUTE || object_id != F_PG_BACKUP_START || class_id != ProcedureRelationId || counted)
		return;
	if (!registered)
	{
		before_shmem_exit(uncount, (Datum) 0);
		RegisterXactCallback(xact_callback, NULL);
		registered = true;
	}
	pg_atomic_fetch_add_u32(&docstore_shared->backups, 1);
	counted = true;
}

void
docstore_backup_init(void)
{
	next_object_access_hook = object_access_hook;
	object_access_hook = object_access;
}

bool
docstore_backup_running(void)
{
	if (pg_atomic_read_u32(&docstore_shared->backups) > 0)
		return true;
	/* Walsenders say so before they ask for the checkpoint, and until they do something else or end. */
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd *walsnd = &WalSndCtl->walsnds[i];
		bool found;

		SpinLockAcquire(&walsnd->mutex);
		found = walsnd->pid != 0 && walsnd->state == WALSNDSTATE_BACKUP;
		SpinLockRelease(&walsnd->mutex);
		if (found)
			return true;
	}
	return false;
}

/* ---- checkpoints ---- */

static TimestampTz held_since = 0;

static void
new_virtual_xid(void)
{
	docstore_my_lxid() = GetNextLocalTransactionId();
}

/* The compactor runs no transactions, so its virtual transaction id is ours to set. */
void
docstore_checkpoints_begin(void)
{
	Assert(!IsTransactionState());
	new_virtual_xid();
	pg_memory_barrier();
	MyProc->delayChkptFlags |= DELAY_CHKPT_COMPLETE;
}

void
docstore_checkpoints_end(void)
{
	MyProc->delayChkptFlags = 0;
	docstore_my_lxid() = InvalidLocalTransactionId;
}

/* May a checkpoint with this redo pointer complete? */
static bool
may_pass(LsmDb *db, XLogRecPtr redo)
{
	LsmMemtables state;
	LsmError err;

	if (!docstore_backup_running())
		return true;
	/* Until the store is recovered its position stays where it is; see LONGEST_MS for one that does not come up. */
	return lsm_memtables(db, &state, &err) == LSM_OK && (XLogRecPtr) state.journal_position >= redo;
}

void
docstore_checkpoints_look(LsmDb *db)
{
	TimestampTz now = GetCurrentTimestamp();
	XLogRecPtr redo;
	LsmError err;
	bool pass;

	if ((MyProc->delayChkptFlags & DELAY_CHKPT_COMPLETE) == 0)
		return;
	MyProc->delayChkptFlags |= DELAY_CHKPT_START;
	pg_memory_barrier();
	redo = GetRedoRecPtr();
	pass = may_pass(db, redo);
	if (pass)
		held_since = 0;
	else if (held_since == 0)
		held_since = now;
	else if (TimestampDifferenceExceeds(held_since, now, LONGEST_MS))
	{
		pass = true;
		held_since = now;
	}
	if (pass)
		new_virtual_xid();
	pg_memory_barrier();
	MyProc->delayChkptFlags &= ~DELAY_CHKPT_START;

	if (pass && held_since != 0)
		ereport(LOG,
				(errmsg("docstore: a checkpoint did not wait any longer for memtables to be flushed"),
				 errdetail("A base backup that begins with it may lack WAL that the store needs."),
				 errhint("Look at last_error in docstore.status, and take the backup again.")));
	if (!pass)
		(void) lsm_rotate_if_older(db, redo, &err); /* what goes wrong is seen in the next look */
}
