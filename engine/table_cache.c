/*
 * table_cache.c - see table_cache.h.
 *
 * The list of open tables is unordered and eviction looks at all of it: opening
 * a table costs several reads, next to which a walk over some thousand ticks is
 * nothing, and a hit need not touch any list.
 */
#include "engine/table_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
lsm_table_cache_init(LsmTableCache *cache, LsmEnv *env, LsmCache *blocks, size_t limit)
{
	memset(cache, 0, sizeof(*cache));
	cache->env = env;
	cache->blocks = blocks;
	cache->limit = limit;
}

void
lsm_table_cache_free(LsmTableCache *cache)
{
	while (cache->nopen > 0)
		lsm_table_cache_drop(cache, cache->open[cache->nopen - 1]);
	free(cache->open);
	cache->open = NULL;
	cache->cap = 0;
}

void
lsm_table_cache_drop(LsmTableCache *cache, LsmFileMeta *file)
{
	LsmFileMeta *last;

	if (file->table == NULL)
		return;
	assert(cache->open[file->cache_index] == file);
	cache->used -= lsm_table_memory(file->table);
	lsm_table_unref(file->table);
	file->table = NULL;
	file->cache = NULL;
	last = cache->open[--cache->nopen];
	cache->open[file->cache_index] = last;
	last->cache_index = file->cache_index;
}

/* Closes the table that was not used for the longest time, but not `keep`. */
static void
evict_one(LsmTableCache *cache, const LsmFileMeta *keep)
{
	LsmFileMeta *oldest = NULL;

	for (int i = 0; i < cache->nopen; i++)
	{
		LsmFileMeta *file = cache->open[i];

		if (file != keep && (oldest == NULL || file->used_tick < oldest->used_tick))
			oldest = file;
	}
	if (oldest != NULL)
		lsm_table_cache_drop(cache, oldest);
}

LsmStatus
lsm_table_cache_open(LsmTableCache *cache, LsmFileMeta *file, LsmError *err)
{
	LsmStatus status;

	if (cache->nopen == cache->cap)
	{
		int cap = cache->cap > 0 ? cache->cap * 2 : 64;
		LsmFileMeta **open = realloc(cache->open, (size_t) cap * sizeof(*open));

		if (open == NULL)
			return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
		cache->open = open;
		cache->cap = cap;
	}
	status = lsm_table_open(cache->env, cache->blocks, file->number, file->size, &file->table, err);
	if (status != LSM_OK)
	{
		file->table = NULL;
		/* never let a missing table pass for a missing key */
		if (status == LSM_NOT_FOUND)
		{
			char name[64];

			lsm_file_name(name, LSM_FILE_TABLE, file->number);
			return lsm_fail(err, LSM_CORRUPT, 0, name, 0, "table file is missing");
		}
		return status;
	}
	file->cache = cache;
	file->cache_index = cache->nopen;
	cache->open[cache->nopen++] = file;
	cache->used += lsm_table_memory(file->table);
	if (!file->asked)
	{
		file->props = *lsm_table_props(file->table);
		file->asked = true;
	}
	while (cache->used > cache->limit && cache->nopen > 1)
		evict_one(cache, file);
	return LSM_OK;
}
