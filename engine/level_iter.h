/*
 * level_iter.h - one iterator over disjoint tables in ascending order, opened as it gets to them.
 */
#ifndef LSM_LEVEL_ITER_H
#define LSM_LEVEL_ITER_H

#include "engine/iter.h"
#include "engine/table_cache.h"

/*
 * files[0 .. n) must live longer than the iterator (hold their set).  With one file it is
 * that table's own iterator.  NULL when out of memory; a table that cannot be
 * opened is the iterator's status.  Blocks with none of the wanted sequences are left out.
 */
extern LsmIter *lsm_level_iter(LsmTableCache *cache, LsmFileMeta **files, int n, bool fill_cache, LsmSeqs wanted);

#endif
