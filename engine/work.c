/*
 * work.c - who does the background work, and its entry points in db.h.
 */
#include "engine/work.h"

#include <stdlib.h>

#include "engine/compact.h"
#include "engine/install.h"
#include "engine/room.h"

#define STEP_MS 100

bool
lsm_role_try(LsmDb *db)
{
	int nobody = 0;

	return atomic_compare_exchange_strong(&db->shared->worker, &nobody, db->handle + 1);
}

void
lsm_role_give(LsmDb *db)
{
	int me = db->handle + 1;

	if (atomic_compare_exchange_strong(&db->shared->worker, &me, 0))
		db->env->ops->wake(db->env, LSM_WAIT_ROOM);
}

LsmStatus
lsm_role_wait(LsmDb *db, LsmError *err)
{
	LsmEnv *env = db->env;

	for (;;)
	{
		LsmStatus status = LSM_OK;
		bool mine;

		env->ops->wait_prepare(env, LSM_WAIT_ROOM);
		mine = lsm_role_try(db);
		if (!mine)
			status = lsm_stopping(db) ? LSM_INTERRUPTED : env->ops->wait(env, LSM_WAIT_ROOM, STEP_MS);
		env->ops->wait_end(env, LSM_WAIT_ROOM);
		if (mine)
			return LSM_OK;
		if (status != LSM_OK)
			return lsm_fail(err, status, 0, NULL, 0, "waiting for a flush or compaction was interrupted");
	}
}

LsmStatus
lsm_flush_all(LsmDb *db, LsmError *err)
{
	bool flushed = true;
	LsmStatus status = LSM_OK;

	while (status == LSM_OK && flushed)
		status = lsm_flush_oldest(db, &flushed, err);
	return status;
}

/* An empty memtable's position went ahead (lsm_rotate_if_older): the manifest follows, and the journal may let go. */
static LsmStatus
advance_position(LsmDb *db, bool *did, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmEdit edit = {0};
	LsmStatus status;
	bool due;

	*did = false;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	due = shared->nmems == 1 && shared->slots[shared->mems[0]].position > shared->manifest_position;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (!due)
		return LSM_OK;
	status = lsm_install(db, &edit, -1, 0, err);
	if (status == LSM_OK)
		db->journal->ops->release(db->journal, edit.log_number);
	lsm_edit_free(&edit);
	*did = status == LSM_OK;
	return status;
}

static LsmStatus
compact_once(LsmDb *db, bool *did, LsmError *err)
{
	LsmCompaction *compaction;
	LsmStatus status = lsm_refresh(db, err);

	*did = false;
	if (status == LSM_OK)
		status = lsm_pick(&db->shared->options, db->follow.files, &compaction, err);
	if (status != LSM_OK || compaction == NULL)
		return status;
	status = lsm_compaction_run(db, compaction, err);
	lsm_compaction_free(compaction);
	*did = status == LSM_OK;
	return status;
}

static LsmStatus
work_with_role(LsmDb *db, bool *did, LsmError *err)
{
	LsmStatus status = lsm_flush_oldest(db, did, err);

	if (status != LSM_OK || *did)
		return status;
	lsm_collect(db);
	lsm_sweep(db);
	lsm_reclaim(db);
	status = advance_position(db, did, err);
	if (status != LSM_OK || *did)
		return status;
	return compact_once(db, did, err);
}

LsmStatus
lsm_work(LsmDb *db, bool *did_work, LsmError *err)
{
	LsmStatus status = lsm_ready(db, err);

	*did_work = false;
	if (status != LSM_OK || !lsm_role_try(db))
		return status;
	status = work_with_role(db, did_work, err);
	lsm_role_give(db);
	return status;
}

LsmStatus
lsm_work_inline(LsmDb *db, LsmError *err)
{
	LsmStatus status;
	LsmError ignored; /* kept in shared memory for lsm_stats; level0_stop makes it felt */
	bool did = true;

	if (!lsm_role_try(db))
		return LSM_OK;
	status = lsm_flush_all(db, err);
	while (status == LSM_OK && did && compact_once(db, &did, &ignored) == LSM_OK)
		;
	lsm_collect(db);
	lsm_sweep(db);
	lsm_reclaim(db);
	lsm_role_give(db);
	return status;
}

/* Waits until the memtable of this generation, and all older ones, are in tables; helps if nobody does. */
static LsmStatus
wait_flushed(LsmDb *db, uint64_t generation, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmEnv *env = db->env;

	for (;;)
	{
		LsmStatus status = LSM_OK;
		LsmError failed;
		uint64_t oldest;

		env->ops->wake(env, LSM_WAIT_WORK);
		env->ops->wait_prepare(env, LSM_WAIT_ROOM);
		lsm_lock(env, LSM_LOCK_STATE, LSM_SHARED);
		oldest = shared->slots[shared->mems[shared->nmems - 1]].generation;
		failed = shared->flush_error;
		lsm_unlock(env, LSM_LOCK_STATE);
		if (oldest > generation)
		{
			env->ops->wait_end(env, LSM_WAIT_ROOM);
			return LSM_OK;
		}
		if (lsm_role_try(db))
		{
			env->ops->wait_end(env, LSM_WAIT_ROOM);
			status = lsm_flush_all(db, err);
			lsm_role_give(db);
			if (status != LSM_OK)
				return status;
			continue;
		}
		/* somebody else is at it, and has failed */
		if (failed.status != LSM_OK)
		{
			env->ops->wait_end(env, LSM_WAIT_ROOM);
			if (err != NULL)
				*err = failed;
			return failed.status;
		}
		status = lsm_stopping(db) ? LSM_INTERRUPTED : env->ops->wait(env, LSM_WAIT_ROOM, STEP_MS);
		env->ops->wait_end(env, LSM_WAIT_ROOM);
		if (status != LSM_OK)
			return lsm_fail(err, status, 0, NULL, 0, "waiting for a flush was interrupted");
	}
}

LsmStatus
lsm_flush(LsmDb *db, LsmError *err)
{
	uint64_t generation;
	LsmStatus status = lsm_ready(db, err);

	if (status == LSM_OK)
		status = lsm_rotate_wait(db, &generation, err);
	if (status == LSM_OK)
		status = wait_flushed(db, generation, err);
	return status;
}

LsmStatus
lsm_rotate_if_older(LsmDb *db, uint64_t position, LsmError *err)
{
	LsmShared *shared = db->shared;
	bool older;
	LsmStatus status = lsm_ready(db, err);

	if (status != LSM_OK)
		return status;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	older = shared->slots[shared->mems[0]].position < position;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (!older)
		return LSM_OK;
	status = lsm_rotate(db, LSM_ROTATE_OR_ADVANCE, err);
	return status == LSM_BUSY ? LSM_OK : status; /* no arena is free: then a flush is due anyway */
}

void
lsm_set_rate(LsmDb *db, uint64_t bytes_per_second)
{
	atomic_store(&db->shared->rate, bytes_per_second);
}

/* ---- compaction of a range ---- */

/* The deepest level that holds anything of the range, -1 if none does. */
static int
deepest_level(const LsmFiles *files, LsmSlice lower, LsmSlice upper)
{
	for (int level = LSM_NUM_LEVELS - 1; level >= 0; level--)
	{
		for (int i = 0; i < files->levels[level].n; i++)
		{
			if (lsm_file_overlaps(files->levels[level].files[i], lower, upper))
				return level;
		}
	}
	return -1;
}

/* Rewrites one file of a level in place (or moves level 0 down), unless it is gone meanwhile. */
static LsmStatus
rewrite_file(LsmDb *db, int level, uint64_t number, bool *done, LsmError *err)
{
	LsmCompaction *compaction;
	LsmStatus status = lsm_refresh(db, err);

	*done = false;
	if (status == LSM_OK)
		status = lsm_pick_rewrite(&db->shared->options, db->follow.files, level, number, &compaction, err);
	if (status != LSM_OK || compaction == NULL)
		return status;
	status = lsm_compaction_run(db, compaction, err);
	lsm_compaction_free(compaction);
	*done = status == LSM_OK;
	return status;
}

/* What the file says of itself; opens it if this handle never did. */
static LsmStatus
file_props(LsmDb *db, LsmFileMeta *file, LsmTableProps *props, LsmError *err)
{
	LsmTable *table;
	LsmStatus status = LSM_OK;

	if (!file->asked)
	{
		status = lsm_enter(db, err);
		if (status != LSM_OK)
			return status;
		status = lsm_table_cache_get(&db->tables, file, &table, err);
		lsm_leave(db);
	}
	*props = file->props;
	return status;
}

typedef bool (*Wanted)(LsmDb *db, const LsmFileMeta *file, const LsmTableProps *props, uint64_t arg);

/* Rewrites the files of a level within the range that `wanted` says; each once. */
static LsmStatus
rewrite_level(LsmDb *db, int level, LsmSlice lower, LsmSlice upper, Wanted wanted, uint64_t arg, uint64_t *count,
			  LsmError *err)
{
	LsmFiles *files;
	LsmStatus status = lsm_refresh(db, err);

	if (status != LSM_OK)
		return status;
	files = db->follow.files;
	lsm_files_ref(files);
	for (int i = 0; i < files->levels[level].n && status == LSM_OK; i++)
	{
		LsmFileMeta *file = files->levels[level].files[i];
		LsmTableProps props;
		bool done;

		if (!lsm_file_overlaps(file, lower, upper))
			continue;
		status = file_props(db, file, &props, err);
		if (status != LSM_OK || !wanted(db, file, &props, arg))
			continue;
		status = rewrite_file(db, level, file->number, &done, err);
		if (count != NULL)
			*count += done;
	}
	lsm_files_unref(files);
	return status;
}

/* The deepest level's files are merged with nothing; rewriting them still drops what outcomes have settled. */
static bool
worth_rewriting(LsmDb *db, const LsmFileMeta *file, const LsmTableProps *props, uint64_t range_dead)
{
	if (range_dead || !props->known || props->deletions > 0 || props->min_xid != 0)
		return true;
	return lsm_stamped(db) && db->txn->dead != NULL &&
		   (db->txn->dead(db->txn_ctx, lsm_ikey_user(file->smallest)) ||
			db->txn->dead(db->txn_ctx, lsm_ikey_user(file->largest)));
}

/* Merges what a level holds of the range into the next one, stretch by stretch. */
static LsmStatus
compact_level(LsmDb *db, int level, LsmSlice lower, LsmSlice upper, bool dead, LsmError *err)
{
	const LsmOptions *options = &db->shared->options;

	for (;;)
	{
		LsmCompaction *compaction;
		LsmStatus status = lsm_refresh(db, err);

		if (status == LSM_OK)
			status = lsm_pick_range(options, db->follow.files, level, lower, upper, 8 * (uint64_t) options->file_size,
									&compaction, err);
		if (status != LSM_OK || compaction == NULL)
			return status;
		/* a file that is only moved keeps what could be dropped; what a standalone file hides, nobody counted */
		if (compaction->move &&
			(!lsm_stamped(db) || !compaction->inputs[0][0]->asked ||
			 worth_rewriting(db, compaction->inputs[0][0], &compaction->inputs[0][0]->props, dead)))
			compaction->move = false;
		status = lsm_compaction_run(db, compaction, err);
		lsm_compaction_free(compaction);
		if (status != LSM_OK)
			return status;
	}
}

static LsmStatus
compact_range_with_role(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmError *err)
{
	bool dead = false;
	int deepest;
	LsmStatus status = lsm_refresh(db, err);

	if (status != LSM_OK)
		return status;
	deepest = deepest_level(db->follow.files, lower, upper);
	if (deepest < 0)
		return LSM_OK;
	if (deepest == 0)
		deepest = 1;
	if (lsm_stamped(db))
	{
		db->txn->begin(db->txn_ctx);
		dead = db->txn->dead != NULL && lower.len > 0 && db->txn->dead(db->txn_ctx, lower);
	}
	/* before it receives anything: what it receives has been settled on the way */
	status = rewrite_level(db, deepest, lower, upper, worth_rewriting, dead, NULL, err);
	for (int level = 0; level < deepest && status == LSM_OK; level++)
		status = compact_level(db, level, lower, upper, dead, err);
	return status;
}

LsmStatus
lsm_compact_range(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmError *err)
{
	LsmStatus status = lsm_flush(db, err);

	if (status == LSM_OK)
		status = lsm_role_wait(db, err);
	if (status != LSM_OK)
		return status;
	status = compact_range_with_role(db, lower, upper, err);
	lsm_role_give(db);
	return status;
}

/* ---- settling old ids ---- */

static bool
holds_older(LsmDb *db, const LsmFileMeta *file, const LsmTableProps *props, uint64_t oldest)
{
	(void) db;
	(void) file;
	return !props->known || (props->min_xid != 0 && props->min_xid < oldest);
}

LsmStatus
lsm_settle(LsmDb *db, uint64_t oldest_xid, uint64_t *rewritten, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t generation = 0;
	uint64_t count = 0;
	LsmSlice all = {"", 0};
	LsmStatus status = lsm_ready(db, err);

	if (status != LSM_OK)
		return status;
	/* the newest memtable that holds such an id; everything up to it is flushed */
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	for (int i = shared->nmems - 1; i >= 0; i--)
	{
		LsmSlot *slot = &shared->slots[shared->mems[i]];

		if (atomic_load(&slot->min_xid) < oldest_xid)
			generation = slot->generation;
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (generation != 0)
	{
		if (generation == atomic_load(&shared->active_generation))
			status = lsm_rotate_wait(db, &generation, err);
		if (status == LSM_OK)
			status = wait_flushed(db, generation, err);
	}
	if (status == LSM_OK)
		status = lsm_role_wait(db, err);
	if (status != LSM_OK)
		return status;
	/* Deepest first: what comes down from above has been settled on its way. */
	for (int level = LSM_NUM_LEVELS - 1; level >= 0 && status == LSM_OK; level--)
		status = rewrite_level(db, level, all, all, holds_older, oldest_xid, &count, err);
	lsm_role_give(db);
	if (rewritten != NULL)
		*rewritten = count;
	return status;
}
