/*
 * table.c - opening a table, and single keys from it; see table.h.  Grammar in format.h.
 *
 * Index and filter stay in private memory for as long as the table is open: they
 * are asked for every key, and a shared cache would cost a lock each time.
 *
 * An entry of the index is >= all keys of its block and < all of the next.  So
 * the block that a seek in the index leads to holds the first version of the key
 * that is wanted, if there is one, and its filter speaks for all blocks that the
 * key's older versions may go on in.
 */
#include "engine/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/table_handle.h"

#define KEY_SPACE 256 /* internal keys up to this size are put together on the stack */

/* ---- opening ---- */

_Thread_local LsmReadCounts lsm_read_counts;

LsmStatus
lsm_table_corrupt(const LsmTable *table, uint64_t offset, const char *text, LsmError *err)
{
	return lsm_fail(err, LSM_CORRUPT, 0, table->file->name, offset, "%s", text);
}

LsmStatus
lsm_table_no_memory(const LsmTable *table, LsmError *err)
{
	return lsm_fail(err, LSM_NO_MEMORY, 0, table->file->name, 0, "out of memory");
}

LsmStatus
lsm_table_block_status(const LsmTable *table, const LsmBlockIter *it, uint64_t offset, LsmError *err)
{
	if (it->status == LSM_OK)
		return LSM_OK;
	if (it->status == LSM_NO_MEMORY)
		return lsm_table_no_memory(table, err);
	return lsm_table_corrupt(table, offset, "block holds a malformed entry", err);
}

LsmStatus
lsm_table_index_handle(const LsmTable *table, const LsmBlockIter *index, LsmBlockHandle *handle, LsmError *err)
{
	if (lsm_handle_decode(index->value.data, index->value.data + index->value.len, handle) == NULL ||
		!lsm_handle_fits(*handle, table->end))
		return lsm_table_corrupt(table, table->index_handle.offset, "index block holds a malformed handle", err);
	return LSM_OK;
}

LsmStatus
lsm_table_open_file(LsmEnv *env, uint64_t number, LsmFile **file, LsmError *err)
{
	char name[64];
	LsmError second;

	lsm_file_name(name, LSM_FILE_TABLE, number);
	if (lsm_file_open(env, name, LSM_OPEN_READ, file, err) == LSM_OK)
		return LSM_OK;
	if (err->status != LSM_NOT_FOUND)
		return err->status;
	snprintf(name, sizeof(name), "%06" PRIu64 ".sst", number);
	if (lsm_file_open(env, name, LSM_OPEN_READ, file, &second) == LSM_OK)
		return LSM_OK;
	/* The .ldb is the one to be missed. */
	if (second.status != LSM_NOT_FOUND)
		*err = second;
	return err->status;
}

/* Moves contents into memory of exactly their size. */
static LsmStatus
keep(const LsmTable *table, LsmSlice contents, LsmSlice *kept, LsmError *err)
{
	char *copy = malloc(contents.len > 0 ? contents.len : 1);

	if (copy == NULL)
		return lsm_table_no_memory(table, err);
	if (contents.len > 0)
		memcpy(copy, contents.data, contents.len);
	*kept = lsm_slice(copy, contents.len);
	return LSM_OK;
}

/* Where the buffers of an opening lie. */
typedef struct Loading
{
	LsmTable *table;
	LsmBuf stored;
	LsmBuf plain;
	LsmSlice contents;
	LsmError *err;
} Loading;

static LsmStatus
load_block(Loading *load, LsmBlockHandle handle)
{
	return lsm_block_read(load->table->file, load->table->end, handle, &load->stored, &load->plain, &load->contents,
						  load->err);
}

static LsmStatus
load_index(Loading *load, uint64_t file_size)
{
	LsmTable *table = load->table;
	char footer[LSM_FOOTER_SIZE];
	LsmBlockIter it;
	size_t got;
	LsmStatus status;

	if (file_size < LSM_FOOTER_SIZE)
		return lsm_table_corrupt(table, 0, "file is too short for a table", load->err);
	table->end = file_size - LSM_FOOTER_SIZE;
	status = lsm_file_read(table->file, table->end, footer, sizeof(footer), &got, load->err);
	if (status != LSM_OK)
		return status;
	if (got < sizeof(footer))
		return lsm_table_corrupt(table, table->end, "file is shorter than it should be", load->err);
	if (!lsm_footer_decode(footer, &table->metaindex_handle, &table->index_handle))
		return lsm_table_corrupt(table, table->end, "file does not end as a table", load->err);
	status = load_block(load, table->index_handle);
	if (status != LSM_OK)
		return status;
	lsm_block_iter_init(&it, LSM_KEYS_INTERNAL);
	if (!lsm_block_iter_set(&it, load->contents))
		return lsm_table_corrupt(table, table->index_handle.offset, "index block is malformed", load->err);
	return keep(table, load->contents, &table->index, load->err);
}

static LsmStatus
load_filter(Loading *load, LsmBlockHandle handle)
{
	LsmTable *table = load->table;
	LsmStatus status = load_block(load, handle);

	if (status != LSM_OK)
		return status;
	status = keep(table, load->contents, &table->filter_contents, load->err);
	if (status != LSM_OK)
		return status;
	table->filter_handle = handle;
	if (lsm_filter_init(&table->filter, table->filter_contents))
		return LSM_OK;
	free((char *) table->filter_contents.data);
	table->filter_contents = lsm_slice(NULL, 0);
	return lsm_table_corrupt(table, handle.offset, "filter block is malformed", load->err);
}

static LsmStatus
load_props(Loading *load, LsmBlockHandle handle)
{
	LsmTableProps props;
	LsmStatus status = load_block(load, handle);

	if (status != LSM_OK)
		return status;
	if (!lsm_props_decode(load->contents, &props))
		return lsm_table_corrupt(load->table, handle.offset, "properties are malformed or of an unknown version",
								 load->err);
	load->table->props = props;
	return LSM_OK;
}

/* A name's handle in the metaindex block; *found. */
static LsmStatus
find_meta(const LsmTable *table, LsmBlockIter *it, const char *name, LsmBlockHandle *handle, bool *found, LsmError *err)
{
	LsmSlice wanted = lsm_slice(name, strlen(name));
	uint64_t offset = table->metaindex_handle.offset;

	lsm_block_iter_seek(it, wanted);
	*found = it->valid && lsm_slice_compare(it->key, wanted) == 0;
	if (*found && lsm_handle_decode(it->value.data, it->value.data + it->value.len, handle) == NULL)
		return lsm_table_corrupt(table, offset, "metaindex block holds a malformed handle", err);
	return lsm_table_block_status(table, it, offset, err);
}

static LsmStatus
find_metas(Loading *load, LsmBlockHandle *filter, bool *has_filter, LsmBlockHandle *props, bool *has_props)
{
	LsmTable *table = load->table;
	LsmBlockIter it;
	LsmStatus status = load_block(load, table->metaindex_handle);

	if (status != LSM_OK)
		return status;
	lsm_block_iter_init(&it, LSM_KEYS_PLAIN);
	if (!lsm_block_iter_set(&it, load->contents))
		return lsm_table_corrupt(table, table->metaindex_handle.offset, "metaindex block is malformed", load->err);
	status = find_meta(table, &it, LSM_FILTER_NAME, filter, has_filter, load->err);
	if (status == LSM_OK)
		status = find_meta(table, &it, LSM_PROPS_NAME, props, has_props, load->err);
	lsm_block_iter_free(&it);
	return status;
}

/* With someone to report to, damage is no error. */
static LsmStatus
reported(LsmStatus status, LsmDamage damage, void *arg, const LsmError *err)
{
	if (status != LSM_CORRUPT || damage == NULL)
		return status;
	damage(arg, err);
	return LSM_OK;
}

LsmStatus
lsm_table_load(LsmTable *table, uint64_t file_size, LsmDamage damage, void *arg, LsmError *err)
{
	Loading load = {table, {0}, {0}, {0}, err};
	LsmBlockHandle filter;
	LsmBlockHandle props;
	bool has_filter = false;
	bool has_props = false;
	LsmStatus status = load_index(&load, file_size);

	if (status != LSM_OK)
		(void) reported(status, damage, arg, err);
	else
		status = reported(find_metas(&load, &filter, &has_filter, &props, &has_props), damage, arg, err);
	if (status == LSM_OK && has_filter)
		status = reported(load_filter(&load, filter), damage, arg, err);
	if (status == LSM_OK && has_props)
		status = reported(load_props(&load, props), damage, arg, err);
	lsm_buf_free(&load.stored);
	lsm_buf_free(&load.plain);
	return status;
}

void
lsm_table_unload(LsmTable *table)
{
	free((char *) table->index.data);
	free((char *) table->filter_contents.data);
}

LsmStatus
lsm_table_open(LsmEnv *env, LsmCache *cache, uint64_t number, uint64_t file_size, LsmTable **result, LsmError *err)
{
	LsmTable *table = calloc(1, sizeof(*table));
	LsmError unwanted;
	LsmStatus status;

	*result = NULL;
	if (err == NULL)
		err = &unwanted;
	if (table == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
	table->refs = 1;
	table->env = env;
	table->cache = cache;
	table->number = number;
	status = lsm_table_open_file(env, number, &table->file, err);
	if (status != LSM_OK)
	{
		free(table);
		return status;
	}
	status = lsm_table_load(table, file_size, NULL, NULL, err);
	if (status == LSM_OK)
		*result = table;
	else
		lsm_table_unref(table);
	return status;
}

void
lsm_table_ref(LsmTable *table)
{
	table->refs++;
}

void
lsm_table_unref(LsmTable *table)
{
	assert(table->refs > 0);
	if (--table->refs > 0)
		return;
	lsm_table_unload(table);
	lsm_file_close(table->file);
	free(table);
}

size_t
lsm_table_memory(const LsmTable *table)
{
	return sizeof(*table) + table->index.len + table->filter_contents.len;
}

const LsmTableProps *
lsm_table_props(const LsmTable *table)
{
	return &table->props;
}

/* ---- one key ---- */

/* A block for the time of one call. */
typedef struct Block
{
	LsmSlice contents;
	bool pinned;
	LsmCachePin pin;
	LsmBuf stored;
	LsmBuf plain;
} Block;

static LsmStatus
fetch_block(LsmTable *table, LsmBlockHandle handle, Block *block, LsmError *err)
{
	LsmStatus status;

	block->pinned = table->cache != NULL &&
					lsm_cache_get(table->cache, table->env, table->number, handle.offset, &block->pin);
	if (block->pinned)
	{
		lsm_read_counts.blocks_cached++;
		block->contents = block->pin.block;
		return LSM_OK;
	}
	if (table->cache != NULL && lsm_cache_get_large(table->cache, table->env, table->number, handle.offset, &block->plain))
	{
		lsm_read_counts.blocks_cached++;
		block->contents = lsm_buf_slice(&block->plain);
		return LSM_OK;
	}
	lsm_read_counts.blocks_read++;
	status = lsm_block_read(table->file, table->end, handle, &block->stored, &block->plain, &block->contents, err);
	if (status == LSM_OK && table->cache != NULL)
		lsm_cache_put(table->cache, table->env, table->number, handle.offset, block->contents, true);
	return status;
}

static void
release_block(LsmTable *table, Block *block)
{
	if (block->pinned)
		lsm_cache_unpin(table->cache, table->env, &block->pin);
	block->pinned = false;
}

/* Visits from where `it` is; *done: there is nothing to look for in the next block. */
static void
visit_versions(LsmBlockIter *it, LsmSlice user_key, LsmVisit visit, void *arg, bool *stopped, bool *done)
{
	for (; it->valid; lsm_block_iter_next(it))
	{
		LsmSlice user = lsm_ikey_user(it->key);

		if (user.len != user_key.len || memcmp(user.data, user_key.data, user.len) != 0)
		{
			*done = true;
			return;
		}
		if (!visit(arg, it->key, it->value, NULL))
		{
			*stopped = true;
			*done = true;
			return;
		}
	}
}

/* The block that `index` is at, and those behind it for as long as they go on with the key. */
static LsmStatus
get_from(LsmTable *table, LsmBlockIter *index, LsmBlockHandle handle, LsmSlice target, LsmVisit visit, void *arg,
		 bool *stopped, LsmError *err)
{
	Block block = {0};
	LsmBlockIter it;
	bool done = false;
	LsmStatus status;

	lsm_block_iter_init(&it, LSM_KEYS_INTERNAL);
	for (;;)
	{
		status = fetch_block(table, handle, &block, err);
		if (status != LSM_OK)
			break;
		if (lsm_block_iter_set(&it, block.contents))
		{
			lsm_block_iter_seek(&it, target);
			visit_versions(&it, lsm_ikey_user(target), visit, arg, stopped, &done);
		}
		status = lsm_table_block_status(table, &it, handle.offset, err);
		release_block(table, &block);
		if (status != LSM_OK || done)
			break;
		lsm_block_iter_next(index);
		if (!index->valid)
		{
			status = lsm_table_block_status(table, index, table->index_handle.offset, err);
			break;
		}
		status = lsm_table_index_handle(table, index, &handle, err);
		if (status != LSM_OK)
			break;
	}
	lsm_block_iter_free(&it);
	lsm_buf_free(&block.stored);
	lsm_buf_free(&block.plain);
	return status;
}

LsmStatus
lsm_table_get(LsmTable *table, LsmSlice user_key, uint64_t max_seq, LsmVisit visit, void *arg, bool *stopped,
			  bool *filtered, LsmError *err)
{
	char space[KEY_SPACE];
	char *key = space;
	size_t key_len = user_key.len + LSM_TRAILER_SIZE;
	LsmSlice target;
	LsmBlockIter index;
	LsmBlockHandle handle;
	LsmStatus status;

	*stopped = false;
	if (filtered != NULL)
		*filtered = false;
	if (key_len > sizeof(space) && (key = malloc(key_len)) == NULL)
		return lsm_table_no_memory(table, err);
	if (user_key.len > 0)
		memcpy(key, user_key.data, user_key.len);
	lsm_put_fixed64(key + user_key.len, lsm_pack_trailer(max_seq, LSM_TYPE_FOR_SEEK));
	target = lsm_slice(key, key_len);

	lsm_block_iter_init(&index, LSM_KEYS_INTERNAL);
	(void) lsm_block_iter_set(&index, table->index);
	lsm_block_iter_seek(&index, target);
	if (!index.valid)
		status = lsm_table_block_status(table, &index, table->index_handle.offset, err);
	else if ((status = lsm_table_index_handle(table, &index, &handle, err)) == LSM_OK)
	{
		if (table->filter_contents.data == NULL || lsm_filter_may_match(&table->filter, handle.offset, user_key))
			status = get_from(table, &index, handle, target, visit, arg, stopped, err);
		else
		{
			lsm_read_counts.filtered++;
			if (filtered != NULL)
				*filtered = true;
		}
	}
	lsm_block_iter_free(&index);
	if (key != space)
		free(key);
	return status;
}

uint64_t
lsm_table_data_end(const LsmTable *table)
{
	return table->filter_contents.data != NULL ? table->filter_handle.offset : table->metaindex_handle.offset;
}

uint64_t
lsm_table_offset_of(LsmTable *table, LsmSlice ikey)
{
	LsmBlockIter index;
	LsmBlockHandle handle;
	uint64_t offset = lsm_table_data_end(table); /* for keys behind the last */

	lsm_block_iter_init(&index, LSM_KEYS_INTERNAL);
	(void) lsm_block_iter_set(&index, table->index);
	lsm_block_iter_seek(&index, ikey);
	if (index.valid && lsm_table_index_handle(table, &index, &handle, NULL) == LSM_OK)
		offset = handle.offset;
	lsm_block_iter_free(&index);
	return offset;
}

/*
 * A block's entries of the range.  Their share of its bytes is that of the keys and values, but what else is in the block may
 * have been compressed otherwise: a block that the range fills says more, so it replaces what was known before.
 */
static void
count_in_block(LsmBlockIter *it, LsmSlice lower, LsmSlice upper, uint64_t size, LsmDensity *density)
{
	uint64_t all = 0;
	uint64_t within = 0;
	uint64_t entries = 0;

	for (lsm_block_iter_first(it); it->valid; lsm_block_iter_next(it))
	{
		LsmSlice user = lsm_ikey_user(it->key);

		all += it->key.len + it->value.len;
		density->more = upper.len == 0 || lsm_slice_compare(user, upper) < 0;
		if (lsm_slice_compare(user, lower) < 0 || !density->more)
			continue;
		within += it->key.len + it->value.len;
		entries++;
	}
	density->counted += entries;
	if (entries == 0)
		return;
	if (within == all)
		density->entries = density->bytes = 0;
	density->entries += entries;
	density->bytes += (uint64_t) ((double) size * (double) within / (double) all);
}

LsmStatus
lsm_table_density(LsmTable *table, LsmSlice lower, LsmSlice upper, LsmDensity *density, LsmError *err)
{
	LsmBuf target = {0};
	Block block = {0};
	LsmBlockIter index;
	LsmBlockIter it;
	LsmStatus status = LSM_OK;

	memset(density, 0, sizeof(*density));
	if (!lsm_ikey_append(&target, lower, LSM_MAX_SEQUENCE, LSM_TYPE_FOR_SEEK))
		return lsm_table_no_memory(table, err);
	lsm_block_iter_init(&index, LSM_KEYS_INTERNAL);
	lsm_block_iter_init(&it, LSM_KEYS_INTERNAL);
	(void) lsm_block_iter_set(&index, table->index);
	lsm_block_iter_seek(&index, lsm_buf_slice(&target));
	for (int blocks = 0; blocks < 2 && index.valid && status == LSM_OK; blocks++)
	{
		LsmBlockHandle handle;

		status = lsm_table_index_handle(table, &index, &handle, err);
		if (status == LSM_OK)
			status = fetch_block(table, handle, &block, err);
		if (status != LSM_OK)
			break;
		if (lsm_block_iter_set(&it, block.contents))
			count_in_block(&it, lower, upper, handle.size + LSM_BLOCK_TRAILER, density);
		status = lsm_table_block_status(table, &it, handle.offset, err);
		release_block(table, &block);
		density->end = handle.offset + handle.size + LSM_BLOCK_TRAILER;
		lsm_block_iter_next(&index);
	}
	density->more = density->more && index.valid;
	lsm_block_iter_free(&it);
	lsm_block_iter_free(&index);
	lsm_buf_free(&block.stored);
	lsm_buf_free(&block.plain);
	lsm_buf_free(&target);
	return status;
}
