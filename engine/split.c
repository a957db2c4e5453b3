/*
 * split.c - lsm_range_split: where a range can be cut into parts of about the same size.
 *
 * The cuts are between blocks of the files that hold most of the range: of one
 * level, or of one file of level 0, whose files overlap.  What lies in other
 * levels and in memtables follows about the same keys, or is little.  Only indexes
 * are read, which open tables have in memory.
 */
#include <string.h>

#include "engine/coding.h"
#include "engine/handle.h"
#include "engine/table_handle.h"

typedef struct Split
{
	LsmDb *db;
	LsmSlice lower;
	LsmSlice upper;
	uint64_t total; /* bytes of all blocks in the range */
	uint64_t seen;  /* ... up to here */
	int parts;
	int cuts; /* so far */
	LsmBuf *keys;
	LsmBuf last; /* the last cut */
} Split;

static bool
behind(const Split *split, LsmSlice key)
{
	return split->upper.len > 0 && lsm_slice_compare(key, split->upper) >= 0;
}

static bool
add_cut(Split *split, LsmSlice key)
{
	if (lsm_slice_compare(key, split->lower) <= 0 ||
		(split->cuts > 0 && lsm_slice_compare(key, lsm_buf_slice(&split->last)) <= 0))
		return true;
	split->cuts++;
	return lsm_buf_set(&split->last, key.data, key.len) && lsm_buf_put_fixed32(split->keys, (uint32_t) key.len) &&
		   lsm_buf_append(split->keys, key.data, key.len);
}

/* Counts the blocks of a file that lie in the range; if the total is known, cuts behind those that complete a part. */
static LsmStatus
walk_file(Split *split, LsmFileMeta *file, LsmError *err)
{
	LsmStatus status = LSM_OK;
	LsmBlockIter index;
	LsmTable *table;

	if (!lsm_file_overlaps(file, split->lower, split->upper))
		return LSM_OK;
	status = lsm_table_cache_get(&split->db->tables, file, &table, err);
	if (status != LSM_OK)
		return status;

	lsm_block_iter_init(&index, LSM_KEYS_INTERNAL);
	(void) lsm_block_iter_set(&index, table->index);
	for (lsm_block_iter_first(&index); index.valid && status == LSM_OK; lsm_block_iter_next(&index))
	{
		/* No key of the block is behind it, none of the next before it. */
		LsmSlice last = lsm_ikey_user(index.key);
		LsmBlockHandle handle;

		/* The last entry may be any key behind the file, and so behind the next one's. */
		if (lsm_slice_compare(last, lsm_ikey_user(file->largest)) > 0)
			last = lsm_ikey_user(file->largest);
		if (lsm_slice_compare(last, split->lower) < 0)
			continue;
		status = lsm_table_index_handle(table, &index, &handle, err);
		if (status != LSM_OK)
			break;
		split->seen += handle.size;
		if (behind(split, last))
			break;
		if (split->total > 0 && split->cuts < split->parts - 1 &&
			(double) split->seen * split->parts >= (double) split->total * (split->cuts + 1) && !add_cut(split, last))
			status = lsm_no_memory(err);
	}
	if (status == LSM_OK && !index.valid)
		status = lsm_table_block_status(table, &index, table->index_handle.offset, err);
	lsm_block_iter_free(&index);
	return status;
}

static LsmStatus
walk_files(Split *split, LsmFileMeta *const *files, int n, LsmError *err)
{
	LsmStatus status = LSM_OK;

	split->seen = 0;
	for (int i = 0; i < n && status == LSM_OK; i++)
		status = walk_file(split, files[i], err);
	return status;
}

LsmStatus
lsm_range_split(LsmDb *db, LsmSlice lower, LsmSlice upper, int parts, LsmBuf *keys, int *cuts, LsmError *err)
{
	Split split = {.db = db, .lower = lower, .upper = upper, .parts = parts, .keys = keys};
	LsmFileMeta *const *files = NULL;
	uint64_t most = 0;
	int n = 0;
	LsmStatus status = lsm_enter(db, err);

	keys->len = 0;
	*cuts = 0;
	if (status != LSM_OK)
		return status;
	for (int level = 0; level < LSM_NUM_LEVELS && status == LSM_OK; level++)
	{
		const LsmLevel *l = &db->follow.files->levels[level];
		int step = level == 0 ? 1 : l->n;

		for (int i = 0; i < l->n && status == LSM_OK; i += step)
		{
			status = walk_files(&split, l->files + i, step, err);
			if (split.seen > most)
			{
				most = split.seen;
				files = l->files + i;
				n = step;
			}
		}
	}
	split.total = most;
	if (status == LSM_OK && most > 0)
		status = walk_files(&split, files, n, err);
	lsm_leave(db);
	lsm_buf_free(&split.last);
	*cuts = split.cuts;
	return status;
}

LsmSlice
lsm_split_next(LsmSlice *keys)
{
	uint32_t len = lsm_get_fixed32(keys->data);
	LsmSlice key = lsm_slice(keys->data + 4, len);

	*keys = lsm_slice(key.data + len, keys->len - 4 - len);
	return key;
}
