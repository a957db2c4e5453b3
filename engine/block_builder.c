/*
 * block_builder.c - see block_builder.h.
 */
#include "engine/block_builder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"

void
lsm_block_builder_init(LsmBlockBuilder *block, int restart_interval, size_t restart_spread)
{
	assert(restart_interval >= 1);
	memset(block, 0, sizeof(*block));
	block->interval = restart_interval;
	block->spread = restart_spread;
	lsm_block_builder_reset(block);
}

void
lsm_block_builder_free(LsmBlockBuilder *block)
{
	lsm_buf_free(&block->buf);
	lsm_buf_free(&block->last_key);
	free(block->restarts);
	block->restarts = NULL;
	block->cap_restarts = 0;
}

void
lsm_block_builder_reset(LsmBlockBuilder *block)
{
	block->buf.len = 0;
	block->last_key.len = 0;
	block->num_restarts = 0;
	block->restarted_at = 0;
	/* The first entry starts at a restart point, as if `interval` entries had gone before. */
	block->counter = block->interval;
}

bool
lsm_block_builder_empty(const LsmBlockBuilder *block)
{
	return block->num_restarts == 0;
}

static bool
add_restart(LsmBlockBuilder *block, uint32_t offset)
{
	if (block->num_restarts == block->cap_restarts)
	{
		uint32_t cap = block->cap_restarts > 0 ? block->cap_restarts * 2 : 32;
		uint32_t *restarts = realloc(block->restarts, cap * sizeof(*restarts));

		if (restarts == NULL)
			return false;
		block->restarts = restarts;
		block->cap_restarts = cap;
	}
	block->restarts[block->num_restarts++] = offset;
	return true;
}

static bool
restart_due(const LsmBlockBuilder *block)
{
	return block->counter >= block->interval ||
		   (block->spread > 0 && block->buf.len - block->restarted_at >= block->spread);
}

/* How many leading bytes an entry for key need not repeat. */
static size_t
shared_with_last(const LsmBlockBuilder *block, LsmSlice key)
{
	size_t common = block->last_key.len < key.len ? block->last_key.len : key.len;
	size_t shared = 0;

	if (restart_due(block))
		return 0;
	while (shared < common && block->last_key.data[shared] == key.data[shared])
		shared++;
	return shared;
}

bool
lsm_block_builder_add(LsmBlockBuilder *block, LsmSlice key, LsmSlice value)
{
	size_t shared = shared_with_last(block, key);
	char *p;

	if (restart_due(block))
	{
		if (!add_restart(block, (uint32_t) block->buf.len))
			return false;
		block->counter = 0;
		block->restarted_at = block->buf.len;
	}
	if (!lsm_buf_reserve(&block->buf, 3 * LSM_VARINT64_MAX + key.len - shared + value.len))
		return false;
	p = block->buf.data + block->buf.len;
	p = lsm_put_varint32(p, (uint32_t) shared);
	p = lsm_put_varint32(p, (uint32_t) (key.len - shared));
	p = lsm_put_varint32(p, (uint32_t) value.len);
	if (key.len > shared)
		memcpy(p, key.data + shared, key.len - shared);
	p += key.len - shared;
	if (value.len > 0)
		memcpy(p, value.data, value.len);
	p += value.len;
	block->buf.len = (size_t) (p - block->buf.data);

	block->last_key.len = shared;
	if (!lsm_buf_append(&block->last_key, key.data + shared, key.len - shared))
		return false;
	block->counter++;
	return true;
}

/* A block without entries has one restart point, too. */
static size_t
size_of(size_t entries, size_t num_restarts)
{
	return entries + (num_restarts > 0 ? num_restarts : 1) * sizeof(uint32_t) + sizeof(uint32_t);
}

size_t
lsm_block_builder_size(const LsmBlockBuilder *block)
{
	return size_of(block->buf.len, block->num_restarts);
}

size_t
lsm_block_builder_size_with(const LsmBlockBuilder *block, LsmSlice key, LsmSlice value)
{
	size_t shared = shared_with_last(block, key);
	size_t unshared = key.len - shared;

	return size_of(block->buf.len + (size_t) lsm_varint_length(shared) + (size_t) lsm_varint_length(unshared) +
					   (size_t) lsm_varint_length(value.len) + unshared + value.len,
				   block->num_restarts + (restart_due(block) ? 1 : 0));
}

LsmSlice
lsm_block_builder_finish(LsmBlockBuilder *block)
{
	if ((block->num_restarts == 0 && !add_restart(block, 0)) ||
		!lsm_buf_reserve(&block->buf, ((size_t) block->num_restarts + 1) * sizeof(uint32_t)))
		return lsm_slice(NULL, 0);
	/* The room is there, so none of these can fail. */
	for (uint32_t i = 0; i < block->num_restarts; i++)
		(void) lsm_buf_put_fixed32(&block->buf, block->restarts[i]);
	(void) lsm_buf_put_fixed32(&block->buf, block->num_restarts);
	return lsm_buf_slice(&block->buf);
}
