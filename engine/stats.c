/*
 * stats.c - lsm_stats and lsm_range_stats: what the store says about itself.
 */
#include <string.h>

#include "engine/handle.h"
#include "engine/shape.h"

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
	stats->seek_compactions = atomic_load(&shared->seek_compactions);
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

/*
 * The file's share, by where the bounds lie in it.  A file that lies wholly in the range says how many entries it has.  In
 * another the neighbours may be larger or smaller by far (an index beside documents, say), so some of those meant are counted.
 */
static LsmStatus
file_share(LsmDb *db, LsmFileMeta *file, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, LsmBuf *ikey, uint64_t *bytes,
		   uint64_t *entries, LsmError *err)
{
	LsmDensity density;
	LsmTable *table;
	LsmStatus status;
	uint64_t from;
	uint64_t to;

	if (!lsm_file_overlaps(file, lower, upper))
		return LSM_OK;
	status = lsm_table_cache_get(&db->tables, file, &table, err);
	if (status != LSM_OK)
		return status;
	if (file->props.known && !lsm_seqs_meet(lsm_file_seqs(file), wanted))
		return LSM_OK;
	if (lsm_file_lies_within(file, lower, upper) && file->props.known)
	{
		*bytes += file->size;
		if (entries != NULL)
			*entries += file->props.entries;
		return LSM_OK;
	}
	from = offset_in(table, lower, ikey);
	to = upper.len > 0 ? offset_in(table, upper, ikey) : lsm_table_data_end(table);
	if (to > from)
		*bytes += to - from;
	if (entries == NULL)
		return LSM_OK;
	status = lsm_table_density(table, lower, upper, &density, err);
	if (status != LSM_OK)
		return status;
	*entries += density.counted;
	if (density.more && density.bytes > 0 && to > density.end)
		*entries += (uint64_t) ((double) density.entries * (double) (to - density.end) / (double) density.bytes);
	return LSM_OK;
}

/* The tables' share; the caller is pinned.  entries may be NULL. */
static LsmStatus
tables_share(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, LsmBuf *ikey, uint64_t *bytes, uint64_t *entries,
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
			status = file_share(db, l->files[i], lower, upper, wanted, ikey, bytes, entries, err);
		}
	}
	return status;
}

LsmStatus
lsm_range_table_bytes(LsmDb *db, LsmSlice lower, LsmSlice upper, uint64_t *bytes, LsmError *err)
{
	LsmBuf ikey = {0};
	LsmStatus status = lsm_enter(db, err);

	*bytes = 0;
	if (status != LSM_OK)
		return status;
	status = tables_share(db, lower, upper, LSM_ALL_SEQS, &ikey, bytes, NULL, err);
	lsm_leave(db);
	lsm_buf_free(&ikey);
	return status;
}

/* in_memory: those that are counted there */
static LsmStatus
range_stats(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, LsmSeqs in_memory, uint64_t *bytes, uint64_t *entries,
			LsmError *err)
{
	LsmBuf ikey = {0};
	LsmStatus status = lsm_enter(db, err);

	*bytes = 0;
	*entries = 0;
	if (status != LSM_OK)
		return status;
	status = tables_share(db, lower, upper, wanted, &ikey, bytes, entries, err);
	for (int i = 0; i < db->nmems && status == LSM_OK; i++)
	{
		uint64_t some;
		uint64_t some_bytes;

		lsm_memtable_estimate(db->mems[i].memtable, lower, upper, in_memory, &some, &some_bytes);
		*entries += some;
		*bytes += some_bytes;
	}
	lsm_leave(db);
	lsm_buf_free(&ikey);
	return status;
}

LsmStatus
lsm_range_stats(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, uint64_t *bytes, uint64_t *entries, LsmError *err)
{
	return range_stats(db, lower, upper, wanted, wanted, bytes, entries, err);
}

LsmStatus
lsm_range_reads(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, uint64_t *entries, LsmError *err)
{
	uint64_t bytes;

	return range_stats(db, lower, upper, wanted, LSM_ALL_SEQS, &bytes, entries, err);
}
