/*
 * table_iter.c - all entries of a table, in both directions.
 *
 * Two block iterators: one over the index, one over the data block that the
 * index entry leads to.  The block lies in the iterator's own memory, because a
 * cursor may rest on it for any time and a pin in the shared cache must not
 * outlive a call.
 *
 * Who reads block after block from the file gets as much at once as it has read
 * in a row, so that a short walk costs at most twice what it wants.  Who finds block
 * after block in the shared cache has the next one fetched into the processor's cache, a little with
 * each entry, so that it need not wait for memory when it copies that.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/table_handle.h"

#define AHEAD_MAX (256 * 1024)
#define CACHE_LINE 64

typedef struct TableIter
{
	LsmIter pub;
	LsmTable *table;
	bool fill_cache;
	bool choosy; /* not every block is wanted */
	LsmSeqs wanted;
	LsmBlockIter index;
	LsmBlockIter block;
	bool loaded; /* block is over the block at this handle */
	LsmBlockHandle handle;
	bool cached;    /* the block was in the shared cache */
	LsmBuf plain;   /* a block from the cache, or decompressed */
	LsmSlice ahead; /* what is still to be fetched of the next block in the cache */

	LsmBuf window; /* bytes of the file */
	uint64_t window_start;
	uint64_t row_start; /* what is read in a row ... */
	uint64_t sequel;    /* ... goes on here */
} TableIter;

static void
stop(TableIter *self, LsmStatus status)
{
	self->pub.valid = false;
	self->pub.status = status;
}

/* Makes the window hold the block. */
static LsmStatus
fill_window(TableIter *self, LsmBlockHandle handle)
{
	LsmTable *table = self->table;
	size_t need = (size_t) handle.size + LSM_BLOCK_TRAILER;
	size_t want = need;
	uint64_t window_end = self->window_start + self->window.len;
	bool in_order = handle.offset == self->sequel;
	LsmStatus status;

	self->sequel = handle.offset + need;
	if (handle.offset >= self->window_start && handle.offset + need <= window_end)
		return LSM_OK;
	if (in_order)
	{
		uint64_t ahead = handle.offset - self->row_start;

		if (ahead > AHEAD_MAX)
			ahead = AHEAD_MAX;
		if (ahead > table->end - handle.offset)
			ahead = table->end - handle.offset;
		if (want < ahead)
			want = (size_t) ahead;
	}
	else
		self->row_start = handle.offset;
	self->window.len = 0;
	if (!lsm_buf_reserve(&self->window, want))
		return lsm_table_no_memory(table, &self->pub.err);
	status = lsm_file_read(table->file, handle.offset, self->window.data, want, &want, &self->pub.err);
	if (status != LSM_OK)
		return status;
	self->window_start = handle.offset;
	self->window.len = want;
	if (want < need)
		return lsm_table_corrupt(table, handle.offset, "file ends within a block", &self->pub.err);
	return LSM_OK;
}

static LsmStatus
read_block(TableIter *self, LsmBlockHandle handle, LsmSlice *contents)
{
	LsmTable *table = self->table;
	LsmCachePin pin;
	LsmStatus status;

	self->cached = table->cache != NULL && lsm_cache_get(table->cache, table->env, table->number, handle.offset, &pin);
	if (self->cached)
	{
		bool copied = lsm_buf_set(&self->plain, pin.block.data, pin.block.len);

		lsm_cache_unpin(table->cache, table->env, &pin);
		lsm_read_counts.blocks_cached++;
		*contents = lsm_buf_slice(&self->plain);
		return copied ? LSM_OK : lsm_table_no_memory(table, &self->pub.err);
	}
	if (table->cache != NULL && lsm_cache_get_large(table->cache, table->env, table->number, handle.offset, &self->plain))
	{
		lsm_read_counts.blocks_cached++;
		*contents = lsm_buf_slice(&self->plain);
		return LSM_OK;
	}
	lsm_read_counts.blocks_read++;
	status = fill_window(self, handle);
	if (status == LSM_OK)
		status = lsm_block_check(table->file->name, handle,
								 self->window.data + (size_t) (handle.offset - self->window_start), &self->plain,
								 contents, &self->pub.err);
	if (status == LSM_OK && table->cache != NULL && self->fill_cache)
		lsm_cache_put(table->cache, table->env, table->number, handle.offset, *contents, false);
	return status;
}

/* Puts `block` over the block that `index` is at.  False: stopped. */
static bool
load_block(TableIter *self)
{
	LsmBlockHandle handle;
	LsmSlice contents;
	LsmStatus status = lsm_table_index_handle(self->table, &self->index, &handle, &self->pub.err);

	if (status == LSM_OK && self->loaded && handle.offset == self->handle.offset && handle.size == self->handle.size)
		return true;
	self->loaded = false;
	self->ahead = lsm_slice(NULL, 0);
	if (status == LSM_OK)
		status = read_block(self, handle, &contents);
	if (status == LSM_OK && !lsm_block_iter_set(&self->block, contents))
		status = lsm_table_corrupt(self->table, handle.offset, "block is malformed", &self->pub.err);
	if (status != LSM_OK)
	{
		stop(self, status);
		return false;
	}
	self->handle = handle;
	self->loaded = true;
	return true;
}

/* Moves the index on to a block that may be wanted. */
static void
pass_unwanted(TableIter *self, bool forward)
{
	while (self->choosy && self->index.valid && !lsm_seqs_meet(lsm_index_seqs(self->index.value), self->wanted))
	{
		if (forward)
			lsm_block_iter_next(&self->index);
		else
			lsm_block_iter_prev(&self->index);
	}
}

/* Data blocks lie one behind another. */
static void
look_ahead(TableIter *self)
{
	LsmTable *table = self->table;
	uint64_t next = self->handle.offset + self->handle.size + LSM_BLOCK_TRAILER;

	if (self->cached && !self->choosy)
		self->ahead = lsm_cache_peek(table->cache, table->env, table->number, next);
}

/* As much of the next block as was read of this one. */
static inline void
fetch_ahead(TableIter *self, size_t len)
{
	if (len > self->ahead.len)
		len = self->ahead.len;
	for (size_t at = 0; at < len; at += CACHE_LINE)
		__builtin_prefetch(self->ahead.data + at, 0, 2);
	self->ahead = lsm_slice(self->ahead.data + len, self->ahead.len - len);
}

static inline void
show(TableIter *self)
{
	self->pub.key = self->block.key;
	self->pub.value = self->block.value;
	self->pub.valid = true;
}

/* Goes on over block after block, in one direction, until there is an entry. */
static void
settle(TableIter *self, bool forward)
{
	while (!self->block.valid)
	{
		LsmStatus status = lsm_table_block_status(self->table, &self->block, self->handle.offset, &self->pub.err);

		if (status != LSM_OK)
		{
			stop(self, status);
			return;
		}
		if (forward)
			lsm_block_iter_next(&self->index);
		else
			lsm_block_iter_prev(&self->index);
		pass_unwanted(self, forward);
		if (!self->index.valid)
		{
			stop(self, lsm_table_block_status(self->table, &self->index, self->table->index_handle.offset,
											  &self->pub.err));
			return;
		}
		if (!load_block(self))
			return;
		if (forward)
		{
			look_ahead(self);
			lsm_block_iter_first(&self->block);
		}
		else
			lsm_block_iter_last(&self->block);
	}
	show(self);
}

/* After the index was positioned: loads its block, or the next wanted one.  False: there is none. */
static bool
enter(TableIter *self, bool forward)
{
	pass_unwanted(self, forward);
	self->pub.valid = false;
	self->pub.status = LSM_OK;
	if (self->index.valid)
		return load_block(self);
	stop(self,
		 lsm_table_block_status(self->table, &self->index, self->table->index_handle.offset, &self->pub.err));
	return false;
}

static void
iter_seek_first(LsmIter *it)
{
	TableIter *self = (TableIter *) it;

	lsm_block_iter_first(&self->index);
	if (!enter(self, true))
		return;
	lsm_block_iter_first(&self->block);
	settle(self, true);
}

static void
iter_seek_last(LsmIter *it)
{
	TableIter *self = (TableIter *) it;

	lsm_block_iter_last(&self->index);
	if (!enter(self, false))
		return;
	lsm_block_iter_last(&self->block);
	settle(self, false);
}

static void
iter_seek(LsmIter *it, LsmSlice target)
{
	TableIter *self = (TableIter *) it;

	lsm_block_iter_seek(&self->index, target);
	if (!enter(self, true))
		return;
	lsm_block_iter_seek(&self->block, target);
	settle(self, true);
}

static void
iter_next(LsmIter *it)
{
	TableIter *self = (TableIter *) it;

	lsm_block_iter_next(&self->block);
	if (self->block.valid)
	{
		if (self->ahead.len > 0)
			fetch_ahead(self, self->block.key.len + self->block.value.len);
		show(self);
	}
	else
		settle(self, true);
}

static void
iter_run(LsmIter *it, LsmRun *run, LsmSlice upper)
{
	TableIter *self = (TableIter *) it;
	const char *from = self->block.current;

	/* No key of a block is behind its index entry's. */
	if (!lsm_behind(lsm_ikey_user(self->index.key), upper))
		upper.len = 0;
	lsm_block_iter_run(&self->block, run, upper);
	if (run->n == 0)
		return;
	if (self->ahead.len > 0)
		fetch_ahead(self, (size_t) (self->block.current - from));
	show(self);
}

static void
iter_prev(LsmIter *it)
{
	TableIter *self = (TableIter *) it;

	lsm_block_iter_prev(&self->block);
	if (self->block.valid)
		show(self);
	else
		settle(self, false);
}

static void
iter_close(LsmIter *it)
{
	TableIter *self = (TableIter *) it;

	lsm_block_iter_free(&self->index);
	lsm_block_iter_free(&self->block);
	lsm_buf_free(&self->plain);
	lsm_buf_free(&self->window);
	lsm_table_unref(self->table);
	free(self);
}

static const LsmIterOps table_iter_ops = {
	.seek_first = iter_seek_first,
	.seek_last = iter_seek_last,
	.seek = iter_seek,
	.next = iter_next,
	.prev = iter_prev,
	.close = iter_close,
	.run = iter_run,
};

LsmIter *
lsm_table_iter(LsmTable *table, bool fill_cache, LsmSeqs wanted)
{
	TableIter *self = calloc(1, sizeof(*self));

	if (self == NULL)
		return NULL;
	self->pub.ops = &table_iter_ops;
	self->pub.steady = true;
	self->table = table;
	self->fill_cache = fill_cache;
	self->wanted = wanted;
	self->choosy = wanted.min > 0 || wanted.max < LSM_MAX_SEQUENCE;
	self->sequel = UINT64_MAX;
	lsm_block_iter_init(&self->index, LSM_KEYS_INTERNAL);
	lsm_block_iter_init(&self->block, LSM_KEYS_INTERNAL);
	(void) lsm_block_iter_set(&self->index, table->index);
	lsm_table_ref(table);
	return &self->pub;
}
