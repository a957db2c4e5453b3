/*
 * table_cache.h - one handle's open tables, bounded by the memory they take.
 *
 * An open table hangs on its description (LsmFileMeta), so that finding it
 * costs a pointer.  When the description's last set goes away, the table is
 * closed.  Least recently used ones are closed first when there are too many.
 */
#ifndef LSM_TABLE_CACHE_H
#define LSM_TABLE_CACHE_H

#include "engine/version.h"

struct LsmTableCache
{
	LsmEnv *env;
	LsmCache *blocks; /* shared block cache, or NULL */
	size_t limit;     /* bytes of private memory */
	size_t used;
	uint64_t tick;
	LsmFileMeta **open;
	int nopen;
	int cap;
};

extern void lsm_table_cache_init(LsmTableCache *cache, LsmEnv *env, LsmCache *blocks, size_t limit);
/* Closes what is still open; the descriptions may live on. */
extern void lsm_table_cache_free(LsmTableCache *cache);

extern LsmStatus lsm_table_cache_open(LsmTableCache *cache, LsmFileMeta *file, LsmError *err);
extern void lsm_table_cache_drop(LsmTableCache *cache, LsmFileMeta *file);

/* *table is borrowed until the next call for another file; take a reference to keep it. */
static inline LsmStatus
lsm_table_cache_get(LsmTableCache *cache, LsmFileMeta *file, LsmTable **table, LsmError *err)
{
	if (__builtin_expect(file->table == NULL, 0))
	{
		LsmStatus status = lsm_table_cache_open(cache, file, err);

		if (status != LSM_OK)
			return status;
	}
	file->used_tick = ++cache->tick;
	*table = file->table;
	return LSM_OK;
}

#endif
