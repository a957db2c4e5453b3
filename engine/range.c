/*
 * range.c - work that was asked for: compacting a range, dropping a dead one, settling old ids.
 */
#include <assert.h>

#include "engine/compact.h"
#include "engine/install.h"
#include "engine/job.h"
#include "engine/room.h"
#include "engine/work.h"

/* What is being worked on, with the role. */
typedef struct Range
{
	LsmDb *db;
	LsmSlice lower;
	LsmSlice upper;       /* len = 0: no end */
	LsmPatience patience; /* with others' merges; LSM_JOB_TRY: LSM_BUSY if one is in the way */
} Range;

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

/* Does a compaction, or makes way for others: then it is to be picked anew. */
static LsmStatus
merge(const Range *range, LsmCompaction *compaction, bool *done, LsmError *err)
{
	LsmStatus status = lsm_compaction_do(range->db, compaction, range->patience, done, err);

	if (status == LSM_OK && !*done && range->patience == LSM_JOB_TRY)
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "another compaction is in the way");
	return status;
}

/*
 * Nobody else may merge level 0 while we have the range, and writers would wait for that in the end.  So in turns with what
 * was asked for; what comes down so has been settled on its way, and need not go further now.
 */
static LsmStatus
make_way(const Range *range, LsmError *err)
{
	LsmDb *db = range->db;
	const LsmOptions *options = &db->shared->options;
	LsmCompaction *compaction = NULL;
	LsmStatus status;
	bool done;

	if (range->patience == LSM_JOB_TRY || atomic_load(&db->shared->level0_files) < options->level0_compact)
		return LSM_OK;
	status = lsm_refresh(db, err);
	if (status == LSM_OK)
		status = lsm_pick_range(options, db->follow.files, 0, range->lower, range->upper, 0, &compaction, err);
	if (status != LSM_OK || compaction == NULL)
		return status;
	return merge(range, compaction, &done, err);
}

/* Rewrites one file of a level in place (or moves level 0 down), unless it is gone meanwhile. */
static LsmStatus
rewrite_file(const Range *range, int level, uint64_t number, bool *done, LsmError *err)
{
	LsmDb *db = range->db;

	*done = false;
	for (;;)
	{
		LsmCompaction *compaction;
		LsmStatus status = lsm_refresh(db, err);

		if (status == LSM_OK)
			status = lsm_pick_rewrite(&db->shared->options, db->follow.files, level, number, &compaction, err);
		if (status != LSM_OK || compaction == NULL)
			return status;
		status = merge(range, compaction, done, err);
		if (status != LSM_OK || *done)
			return status;
	}
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
rewrite_level(const Range *range, int level, Wanted wanted, uint64_t arg, uint64_t *count, LsmError *err)
{
	LsmDb *db = range->db;
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

		if (!lsm_file_overlaps(file, range->lower, range->upper))
			continue;
		status = make_way(range, err);
		if (status == LSM_OK)
			status = file_props(db, file, &props, err);
		if (status != LSM_OK || !wanted(db, file, &props, arg))
			continue;
		status = rewrite_file(range, level, file->number, &done, err);
		if (count != NULL)
			*count += done;
	}
	lsm_files_unref(files);
	return status;
}

/* The deepest level's files are merged with nothing; rewriting them still drops what outcomes have settled. */
static bool
worth_rewriting(LsmDb *db, const LsmFileMeta *file, const LsmTableProps *props, uint64_t arg)
{
	(void) arg;
	if (!props->known || props->deletions > 0 || props->min_xid != 0)
		return true;
	return lsm_stamped(db) && db->txn->dead != NULL &&
		   (db->txn->dead(db->txn_ctx, lsm_ikey_user(file->smallest)) ||
			db->txn->dead(db->txn_ctx, lsm_ikey_user(file->largest)));
}

/* Behind what a compaction takes from its level. */
static bool
pass(LsmBuf *from, const LsmCompaction *compaction)
{
	LsmSlice last = lsm_ikey_user(compaction->inputs[0][compaction->ninputs[0] - 1]->largest);

	return lsm_buf_set(from, last.data, last.len) && lsm_buf_append(from, "", 1);
}

/*
 * Merges what a level holds of the range into the next one, stretch by stretch.  Once: what others write meanwhile may
 * come down behind us, for otherwise there would be no end to it.
 */
static LsmStatus
compact_level(const Range *range, int level, LsmError *err)
{
	LsmDb *db = range->db;
	const LsmOptions *options = &db->shared->options;
	LsmBuf from = {0};
	LsmBuf next = {0};
	bool done = false;
	LsmStatus status = LSM_OK;

	if (!lsm_buf_set(&from, range->lower.data, range->lower.len))
		status = lsm_no_memory(err);
	while (status == LSM_OK && (level > 0 || !done))
	{
		LsmCompaction *compaction = NULL;

		if (level > 0)
			status = make_way(range, err);
		if (status == LSM_OK)
			status = lsm_refresh(db, err);
		if (status == LSM_OK && (range->upper.len == 0 || lsm_slice_compare(lsm_buf_slice(&from), range->upper) < 0))
			status = lsm_pick_range(options, db->follow.files, level, lsm_buf_slice(&from), range->upper,
									8 * (uint64_t) options->file_size, &compaction, err);
		if (status != LSM_OK || compaction == NULL)
			break;
		/* a file that is only moved keeps what could be dropped; what a standalone file hides, nobody counted */
		if (compaction->move &&
			(!lsm_stamped(db) || !compaction->inputs[0][0]->asked ||
			 worth_rewriting(db, compaction->inputs[0][0], &compaction->inputs[0][0]->props, 0)))
			compaction->move = false;
		if (!pass(&next, compaction))
		{
			lsm_compaction_free(compaction);
			status = lsm_no_memory(err);
			break;
		}
		status = merge(range, compaction, &done, err);
		if (status == LSM_OK && done && !lsm_buf_set(&from, next.data, next.len))
			status = lsm_no_memory(err);
	}
	lsm_buf_free(&from);
	lsm_buf_free(&next);
	return status;
}

/*
 * From here until the role is given back nobody else merges anything of the range: a job that began
 * before might put a file there that knows less of what is settled or dead.
 */
static LsmStatus
reserve(const Range *range, LsmError *err)
{
	bool reserved;
	LsmStatus status = lsm_job_reserve(range->db, range->lower, range->upper, range->patience, &reserved, err);

	if (status != LSM_OK)
		return status;
	if (!reserved)
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "another compaction is in the way");
	return lsm_refresh(range->db, err);
}

LsmStatus
lsm_compact_range_with_role(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmPatience patience, LsmError *err)
{
	Range range = {db, lower, upper, patience};
	int deepest;
	LsmStatus status = reserve(&range, err);

	if (status != LSM_OK)
		return status;
	deepest = deepest_level(db->follow.files, lower, upper);
	if (deepest < 0)
		return LSM_OK;
	if (deepest == 0)
		deepest = 1;
	if (lsm_stamped(db))
		db->txn->begin(db->txn_ctx);
	/* before it receives anything: what it receives has been settled on the way */
	status = rewrite_level(&range, deepest, worth_rewriting, 0, NULL, err);
	for (int level = 0; level < deepest && status == LSM_OK; level++)
		status = compact_level(&range, level, err);
	return status;
}

LsmStatus
lsm_compact_range(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmError *err)
{
	LsmStatus status = lsm_flush(db, err);

	if (status == LSM_OK)
		status = lsm_role_wait(db, LSM_JOB_WAIT, err);
	if (status != LSM_OK)
		return status;
	status = lsm_compact_range_with_role(db, lower, upper, LSM_JOB_WAIT, err);
	lsm_role_give(db);
	lsm_garbage_leave(db);
	return status;
}

/* ---- a range of which all is dead ---- */

/*
 * Who gives back space and settles ids in the background has more to do than to wait for somebody else's range, which
 * may be all of the store; and shall not flush for it again and again.
 */
static LsmStatus
not_behind_others(LsmDb *db, LsmError *err)
{
	LsmStatus status = lsm_ready(db, err);

	if (status == LSM_OK && lsm_job_reserved(db))
		status = lsm_fail(err, LSM_BUSY, 0, NULL, 0, "another compaction is in the way");
	return status;
}

/* Takes the files that lie within the range out of the set. */
static LsmStatus
drop_files(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t *bytes, LsmError *err)
{
	LsmEdit edit = {0};
	LsmStatus status = lsm_refresh(db, err);

	for (int level = 0; level < LSM_NUM_LEVELS && status == LSM_OK; level++)
	{
		const LsmLevel *l = &db->follow.files->levels[level];

		for (int i = 0; i < l->n && status == LSM_OK; i++)
		{
			if (!lsm_file_lies_within(l->files[i], lower, upper))
				continue;
			*bytes += l->files[i]->size;
			if (!lsm_edit_delete(&edit, level, l->files[i]->number))
				status = lsm_no_memory(err);
		}
	}
	if (status == LSM_OK && edit.ndeleted > 0)
	{
		status = lsm_install(db, &edit, -1, 0, err);
		if (status == LSM_OK)
			lsm_collect(db);
	}
	lsm_edit_free(&edit);
	return status;
}

static bool
always(LsmDb *db, const LsmFileMeta *file, const LsmTableProps *props, uint64_t arg)
{
	(void) db;
	(void) file;
	(void) props;
	(void) arg;
	return true;
}

static LsmStatus
drop_range_with_role(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t *bytes, LsmError *err)
{
	Range range = {db, lower, upper, LSM_JOB_WAIT};
	LsmStatus status = reserve(&range, err);

	if (status != LSM_OK)
		return status;
	db->txn->begin(db->txn_ctx);
	status = drop_files(db, lower, upper, bytes, err);
	/* what is left of the range lies in files with others' keys: two a level, and some of level 0 */
	if (status == LSM_OK)
		status = compact_level(&range, 0, err);
	for (int level = 1; level < LSM_NUM_LEVELS && status == LSM_OK; level++)
		status = rewrite_level(&range, level, always, 0, NULL, err);
	return status;
}

LsmStatus
lsm_drop_range(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t *bytes, LsmError *err)
{
	uint64_t dropped = 0;
	LsmStatus status;

	assert(lsm_stamped(db) && db->txn->dead != NULL);
	status = not_behind_others(db, err);
	if (status == LSM_OK)
		status = lsm_flush(db, err);
	if (status == LSM_OK)
		status = lsm_role_wait(db, LSM_JOB_TRY, err);
	if (status != LSM_OK)
		return status;
	status = drop_range_with_role(db, lower, upper, &dropped, err);
	lsm_role_give(db);
	if (bytes != NULL)
		*bytes = dropped;
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
	Range all = {db, {"", 0}, {"", 0}, LSM_JOB_WAIT};
	LsmStatus status = not_behind_others(db, err);

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
			status = lsm_wait_flushed(db, generation, err);
	}
	if (status == LSM_OK)
		status = lsm_role_wait(db, LSM_JOB_TRY, err);
	if (status != LSM_OK)
		return status;
	status = reserve(&all, err);
	/* Deepest first: what comes down from above has been settled on its way. */
	for (int level = LSM_NUM_LEVELS - 1; level >= 0 && status == LSM_OK; level--)
		status = rewrite_level(&all, level, holds_older, oldest_xid, &count, err);
	lsm_role_give(db);
	if (rewritten != NULL)
		*rewritten = count;
	return status;
}
