/*
 * parallel.c - parts of a range, handed out to processes (parallel.h).
 */
#include "postgres.h"

#include "fdw/parallel.h"

#include <math.h>

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "port/atomics.h"
#include "utils/lsyscache.h"

#include "store/compat.h"

struct DocParts
{
	pg_atomic_uint32 next;
	uint32 nparts;
	pg_atomic_uint64 blocks_read;
	pg_atomic_uint64 blocks_cached;
	char keys[FLEXIBLE_ARRAY_MEMBER]; /* where they are cut, as lsm_range_split makes them */
};

void
doc_parts_add_path(PlannerInfo *root, RelOptInfo *rel, const DocScanCost *cost, double bytes, List *pathkeys, bool backward)
{
	int workers = compute_parallel_worker(rel, ceil(bytes / BLCKSZ * cost->fetched / rel->tuples), -1, max_parallel_workers_per_gather);
	ForeignPath *path;
	double divisor;

	if (workers <= 0)
		return;
	/* As PostgreSQL reckons: the leader has less and less time to help. */
	divisor = workers;
	if (parallel_leader_participation && workers < 4)
		divisor += 1.0 - 0.3 * workers;
	path = docstore_foreignscan_path(root, rel, clamp_row_est(cost->rows / divisor), cost->startup,
									 cost->startup + cost->disk + cost->cpu / divisor, pathkeys, NULL, list_make1_int(backward));
	path->path.parallel_aware = true;
	path->path.parallel_workers = workers;
	add_partial_path(rel, (Path *) path);
}

/* Enough that nobody waits long for the last one's end, and few enough that starting them costs little. */
#define PARTS_EACH 16
/* Room for a cut: most ids are shorter.  If they are not there are fewer parts. */
#define CUT_BYTES 128

static int
parts_wanted(int workers)
{
	/* The leader reads, too. */
	return (workers + 1) * PARTS_EACH;
}

Size
doc_parts_size(int workers)
{
	return offsetof(DocParts, keys) + (Size) parts_wanted(workers) * CUT_BYTES;
}

void
doc_parts_init(DocParts *parts, int workers, const SeekRange *range)
{
	int wanted = parts_wanted(workers);
	LsmStatus status = LSM_OK;
	LsmBuf keys = {0};
	int cuts = 0;
	LsmError err;

	Assert(!range->points);
	for (int n = wanted; n > 1 && !range->nothing; n /= 2)
	{
		status = lsm_range_split(docstore_db(), range->lower, range->upper, n, &keys, &cuts, &err);
		if (status != LSM_OK || keys.len <= (size_t) wanted * CUT_BYTES)
			break;
		keys.len = 0;
		cuts = 0;
	}
	/* After an error there may be more of them than there is room for. */
	if (status == LSM_OK && keys.len > 0)
		memcpy(parts->keys, keys.data, keys.len);
	lsm_buf_free(&keys);
	docstore_check(status, &err);
	parts->nparts = range->nothing ? 0 : cuts + 1;
	pg_atomic_init_u32(&parts->next, 0);
	pg_atomic_init_u64(&parts->blocks_read, 0);
	pg_atomic_init_u64(&parts->blocks_cached, 0);
}

void
doc_parts_add(DocParts *parts, LsmReadCounts *counts)
{
	pg_atomic_fetch_add_u64(&parts->blocks_read, (int64) counts->blocks_read);
	pg_atomic_fetch_add_u64(&parts->blocks_cached, (int64) counts->blocks_cached);
	memset(counts, 0, sizeof(*counts));
}

/* Ranges have no use for filters. */
LsmReadCounts
doc_parts_counts(DocParts *parts)
{
	LsmReadCounts counts = {0};

	counts.blocks_read = pg_atomic_read_u64(&parts->blocks_read);
	counts.blocks_cached = pg_atomic_read_u64(&parts->blocks_cached);
	return counts;
}

bool
doc_parts_next(DocParts *parts, const SeekRange *range, bool backward, LsmSlice *lower, LsmSlice *upper)
{
	LsmSlice keys = lsm_slice(parts->keys, SIZE_MAX);
	uint32 part = pg_atomic_fetch_add_u32(&parts->next, 1);

	if (part >= parts->nparts)
		return false;
	if (backward)
		part = parts->nparts - 1 - part;
	*lower = range->lower;
	*upper = range->upper;
	for (uint32 i = 0; i < part; i++)
		*lower = lsm_split_next(&keys);
	if (part < parts->nparts - 1)
		*upper = lsm_split_next(&keys);
	return true;
}

static bool
type_allowed(Oid type)
{
	Oid element = get_base_element_type(type);
	Oid input;
	Oid param;

	/* A domain's constraints may call anything; a row may have domains in it. */
	if (get_typtype(type) == TYPTYPE_DOMAIN || get_typtype(type) == TYPTYPE_COMPOSITE)
		return false;
	if (OidIsValid(element) && element != type)
		return type_allowed(element);
	getTypeInputInfo(type, &input, &param);
	return func_parallel(input) == PROPARALLEL_SAFE;
}

bool
doc_parts_allowed(const DocTable *table)
{
	for (int i = 0; i < table->natts; i++)
		if (table->columns[i].role == DOC_ROLE_FIELD && !type_allowed(table->columns[i].convert.type))
			return false;
	return true;
}
