/*
 * shape.c - see shape.h.
 *
 * LevelDB gives every level a fixed size, so a deepest level that is just begun
 * lies below one that is nearly as large, and half of the bytes may be obsolete.
 * Here sizes are reckoned from below, as RocksDB does with its dynamic levels:
 * the deepest level holds nearly everything, each one above it a level_factor-th
 * of the next.  Obsolete versions then take a ninth of the space at most, besides
 * level 0.
 *
 * A level whose share is much smaller than what level 0 brings at a time is not
 * worth its writes: every merge from level 0 would rewrite all of it, and soon push
 * all of it on.  So level 0 is merged straight into the first level that is worth
 * it (the base).  Not much later, though: such a merge rewrites all of the base in
 * one piece, while level 0 fills up.  What a level above that one still holds, since the deepest level
 * was another, goes down soon.
 *
 * The deepest level begins the next one when it passes LevelDB's size for it.
 * Then all of it is above its new target and moves: nothing lies beneath it, so
 * that only the manifest is written.
 */
#include "engine/shape.h"

/* LevelDB's size of a level. */
static uint64_t
full_bytes(const LsmOptions *options, int level)
{
	uint64_t bytes = options->level1_size > 0 ? options->level1_size : 1;

	for (int i = 1; i < level; i++)
		bytes *= (uint64_t) options->level_factor;
	return bytes;
}

/* What a merge of level 0 brings. */
static uint64_t
level0_bytes(const LsmOptions *options)
{
	return (uint64_t) options->level0_compact * options->memtable_size;
}

void
lsm_shape_of(const LsmOptions *options, const LsmFiles *files, LsmShape *shape)
{
	uint64_t worth = level0_bytes(options) / 4;
	uint64_t share = 0;
	int first = 0;

	*shape = (LsmShape){.base = 1, .bottom = 1};
	for (int level = 1; level < LSM_NUM_LEVELS; level++)
	{
		if (files->levels[level].n == 0)
			continue;
		share += files->levels[level].bytes;
		shape->bottom = level;
		if (first == 0)
			first = level;
	}
	shape->target[shape->bottom] = full_bytes(options, shape->bottom);
	shape->base = shape->bottom;
	/* what the deepest level has of all that, once the ones above it hold their shares */
	share = share / (uint64_t) options->level_factor * (uint64_t) (options->level_factor - 1);
	for (int level = shape->bottom - 1; level >= 1; level--)
	{
		share /= (uint64_t) options->level_factor;
		if (share < worth)
			break;
		shape->target[level] = share;
		shape->base = level;
	}
	if (first != 0 && first < shape->base)
		shape->base = first;
}

double
lsm_shape_score(const LsmOptions *options, const LsmShape *shape, int level, int files, uint64_t bytes)
{
	if (level == 0)
		return (double) files / options->level0_compact;
	if (bytes == 0 || level == LSM_NUM_LEVELS - 1)
		return 0;
	if (shape->target[level] == 0)
	{
		double score = (double) bytes / (double) level0_bytes(options);

		/* before level 0 fills it again, but not before all else */
		return score > 1.5 ? score : 1.5;
	}
	return (double) bytes / (double) shape->target[level];
}

uint64_t
lsm_compaction_debt(const LsmOptions *options, const LsmFiles *files)
{
	uint64_t debt = files->levels[0].n >= options->level0_compact ? files->levels[0].bytes : 0;
	LsmShape shape;

	lsm_shape_of(options, files, &shape);
	for (int level = 1; level < LSM_NUM_LEVELS - 1; level++)
	{
		if (files->levels[level].bytes > shape.target[level])
			debt += files->levels[level].bytes - shape.target[level];
	}
	return debt;
}
