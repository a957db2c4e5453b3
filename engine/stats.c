/*
 * stats.c - lsm_stats and lsm_range_stats: what the store says about itself.
 */
#include <string.h>

#include "engine/handle.h"
#include "engine/shape.h"

#define MEMTABLE_SAMPLE 1000 /* entries of a memtable that are counted before the rest is guessed */

/* What a file's own meta block says; opens it if this handle never did.  The caller is pinned. */
static LsmStatus
props_of(LsmDb *db, LsmFileMeta *file, const LsmTableProps **props, LsmError *err)
{
	LsmStatus status = LSM_OK;
	LsmTable *table;

	if (!file->asked)
		status = lsm_table_cache_get(&db->tables, file, &table, err);
	*props = &file->props;
	return status;
}

static LsmStatus
level_stats(LsmDb *db, const LsmLevel *level, LsmLevelStats *stats, LsmError *err)
{
	stats->files = level->n;
	stats->bytes = level->bytes;
	stats->entries = 0;
	for (int i = 0; i < level->n; i++)
	{
		const LsmTableProps *props;
		LsmStatus status = props_of(db, level->files[i], &props, err);

		if (status != LSM_OK)
			return status;
		stats->entries += props->entries;
	}
	return LSM_OK;
}

LsmStatus
lsm_stats(LsmDb *db, LsmStats *stats, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = lsm_enter(db, err);

	if (status != LSM_OK)
		return status;
	memset(stats, 0, sizeof(*stats));
	for (int level = 0; level < LSM_NUM_LEVELS && status == LSM_OK; level++)
		status = level_stats(db, &db->follow.files->levels[level], &stats->levels[level], err);
	stats->memtable_used = lsm_memtable_used(db->mems[0].memtable);
	stats->memtable_size = shared->options.memtable_size;
	stats->memtables_waiting = db->nmems - 1;
	stats->compaction_debt = lsm_compaction_debt(&shared->options, db->follow.files);
	lsm_leave(db);

	stats->last_seq = atomic_load(&shared->last_seq);
	stats->epoch = atomic_load(&shared->epoch);
	stats->flushes = atomic_load(&shared->flushes);
	stats->compactions = atomic_load(&shared->compactions);
	stats->bytes_flushed = atomic_load(&shared->bytes_flushed);
	stats->bytes_compacted = atomic_load(&shared->bytes_compacted);
	stats->bytes_written = atomic_load(&shared->bytes_written);
	stats->stalls = atomic_load(&shared->stalls);
	stats->went_back = atomic_load(&shared->went_back);
	stats->stall_us = atomic_load(&shared->stall_us);
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	stats->journal_position = shared->manifest_position;
	stats->last_error = shared->flush_error.status != LSM_OK ? shared->flush_error : shared->compact_error;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (db->tables.blocks != NULL)
		lsm_cache_stats(db->tables.blocks, &stats->cache);
	return status;
}

LsmStatus
lsm_memtables(LsmDb *db, LsmMemtables *state, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = lsm_ready(db, err);

	if (status != LSM_OK)
		return status;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	state->journal_position = shared->manifest_position;
	state->waiting = shared->nmems - 1;
	/* the active one cannot be reused while we hold STATE */
	state->empty = shared->nmems == 1 && lsm_memtable_entries(lsm_shared_arena(shared, shared->mems[0])) == 0;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return LSM_OK;
}

/* ---- ranges ---- */

/* Offset in a file where `key` would lie. */
static uint64_t
offset_in(LsmTable *table, LsmSlice key, LsmBuf *ikey)
{
	ikey->len = 0;
	if (!lsm_ikey_append(ikey, key, LSM_MAX_SEQUENCE, LSM_TYPE_FOR_SEEK))
		return 0;
	return lsm_table_offset_of(table, lsm_buf_slice(ikey));
}

static LsmStatus
file_share(LsmDb *db, LsmFileMeta *file, LsmSlice lower, LsmSlice upper, uint64_t min_seq, LsmBuf *ikey, uint64_t *bytes,
		   uint64_t *entries, LsmError *err)
{
	uint64_t from = 0;
	uint64_t to = file->size;
	LsmTable *table;
	LsmStatus status;

	if (!lsm_file_overlaps(file, lower, upper))
		return LSM_OK;
	status = lsm_table_cache_get(&db->tables, file, &table, err);
	if (status != LSM_OK)
		return status;
	if (file->props.known && file->props.max_seq < min_seq)
		return LSM_OK;
	if (lsm_slice_compare(lsm_ikey_user(file->smallest), lower) < 0)
		from = offset_in(table, lower, ikey);
	if (upper.len > 0 && lsm_slice_compare(lsm_ikey_user(file->largest), upper) >= 0)
		to = offset_in(table, upper, ikey);
	if (to > file->size)
		to = file->size;
	if (to <= from)
		return LSM_OK;
	*bytes += to - from;
	/* a file of LevelDB's does not say how many entries it has */
	if (file->props.known)
		*entries += (uint64_t) ((double) file->props.entries * (double) (to - from) / (double) file->size);
	else
		*entries += (to - from) / 100;
	return LSM_OK;
}

/* Counts a memtable's entries in the range, the first ones for real. */
static LsmStatus
memtable_share(LsmMemtable *memtable, LsmSlice lower, LsmSlice upper, uint64_t min_seq, LsmBuf *ikey, uint64_t *bytes,
			   uint64_t *entries, LsmError *err)
{
	uint64_t all = lsm_memtable_entries(memtable);
	uint64_t seen = 0;
	uint64_t counted = 0;
	LsmIter *it;

	if (all == 0)
		return LSM_OK;
	it = lsm_memtable_iter(memtable);
	ikey->len = 0;
	if (it == NULL || !lsm_ikey_append(ikey, lower, LSM_MAX_SEQUENCE, LSM_TYPE_FOR_SEEK))
	{
		if (it != NULL)
			lsm_iter_close(it);
		return lsm_no_memory(err);
	}
	for (lsm_iter_seek(it, lsm_buf_slice(ikey)); it->valid && seen < MEMTABLE_SAMPLE; lsm_iter_next(it))
	{
		if (upper.len > 0 && lsm_slice_compare(lsm_ikey_user(it->key), upper) >= 0)
			break;
		seen++;
		counted += lsm_ikey_seq(it->key) >= min_seq;
	}
	/* more than a few: any share of it may be meant */
	if (seen == MEMTABLE_SAMPLE)
		counted = (uint64_t) ((double) all * (double) counted / (double) seen);
	lsm_iter_close(it);
	*entries += counted;
	*bytes += (uint64_t) ((double) lsm_memtable_used(memtable) * (double) counted / (double) all);
	return LSM_OK;
}

/* The tables' share; the caller is pinned. */
static LsmStatus
tables_share(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t min_seq, LsmBuf *ikey, uint64_t *bytes, uint64_t *entries,
			 LsmError *err)
{
	LsmStatus status = LSM_OK;

	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &db->follow.files->levels[level];
		int i = level == 0 ? 0 : lsm_level_find_user(l, lower);

		for (; i < l->n && status == LSM_OK; i++)
		{
			if (level > 0 && !lsm_file_overlaps(l->files[i], lower, upper))
				break;
			status = file_share(db, l->files[i], lower, upper, min_seq, ikey, bytes, entries, err);
		}
	}
	return status;
}

LsmStatus
lsm_range_table_bytes(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t *bytes, LsmError *err)
{
	LsmBuf ikey = {0};
	LsmStatus status = lsm_enter(db, err);
	uint64_t entries = 0;

	*bytes = 0;
	if (status != LSM_OK)
		return status;
	status = tables_share(db, lower, upper, 0, &ikey, bytes, &entries, err);
	lsm_leave(db);
	lsm_buf_free(&ikey);
	return status;
}

LsmStatus
lsm_range_stats(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t min_seq, uint64_t *bytes, uint64_t *entries,
				LsmError *err)
{
	LsmBuf ikey = {0};
	LsmStatus status = lsm_enter(db, err);

	*bytes = 0;
	*entries = 0;
	if (status != LSM_OK)
		return status;
	status = tables_share(db, lower, upper, min_seq, &ikey, bytes, entries, err);
	for (int i = 0; i < db->nmems && status == LSM_OK; i++)
		status = memtable_share(db->mems[i].memtable, lower, upper, min_seq, &ikey, bytes, entries, err);
	lsm_leave(db);
	lsm_buf_free(&ikey);
	return status;
}
