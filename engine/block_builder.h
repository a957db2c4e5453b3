/*
 * block_builder.h - writes one block at a time: prefix-compressed entries and
 * their restart points (grammar in block.c).
 */
#ifndef LSM_BLOCK_BUILDER_H
#define LSM_BLOCK_BUILDER_H

#include "engine/status.h"

/* An entry takes at most this much besides its key and value: three lengths and a restart point. */
#define LSM_BLOCK_ENTRY_OVERHEAD 19

typedef struct LsmBlockBuilder
{
	LsmBuf buf; /* entries so far */
	LsmBuf last_key;
	uint32_t *restarts;
	uint32_t num_restarts;
	uint32_t cap_restarts;
	int interval;        /* entries from one restart point to the next */
	size_t spread;       /* or bytes, if that is less; 0: no matter */
	int counter;         /* entries since the last one */
	size_t restarted_at; /* the last one */
} LsmBlockBuilder;

/*
 * A restart point follows after restart_interval entries, as in LevelDB; and, if
 * restart_spread is not 0, after so many bytes of them: a search goes through the
 * entries behind a restart point one by one, and large ones lie far apart.
 */
extern void lsm_block_builder_init(LsmBlockBuilder *block, int restart_interval, size_t restart_spread);
extern void lsm_block_builder_free(LsmBlockBuilder *block);

/* Keys in ascending order.  False when out of memory: the block is of no use then. */
extern bool lsm_block_builder_add(LsmBlockBuilder *block, LsmSlice key, LsmSlice value);
/* Bytes of the block if it were finished now. */
extern size_t lsm_block_builder_size(const LsmBlockBuilder *block);
/* ... if it were finished after this entry. */
extern size_t lsm_block_builder_size_with(const LsmBlockBuilder *block, LsmSlice key, LsmSlice value);
extern bool lsm_block_builder_empty(const LsmBlockBuilder *block);
/* The block's bytes, until reset; data is NULL when out of memory. */
extern LsmSlice lsm_block_builder_finish(LsmBlockBuilder *block);
extern void lsm_block_builder_reset(LsmBlockBuilder *block);

#endif
