/*
 * analyze.c - ANALYZE of a view's results: a sample of all rows, by the executor's own scan of them.
 */
#include "postgres.h"

#include "view/plan.h"

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/sampling.h"

#include "fdw/collection.h"
#include "store/compat.h"
#include "store/store.h"
#include "view/progress.h"
#include "view/table.h"

#define FETCH 1000

static int
acquire_sample(Relation relation, int elevel, HeapTuple *rows, int target, double *total, double *dead)
{
	char *query = psprintf("SELECT * FROM %s", quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)), RelationGetRelationName(relation)));
	MemoryContext context = CurrentMemoryContext;
	ReservoirStateData reservoir;
	double seen = 0;
	double skip = -1;
	int n = 0;
	Portal portal;

	reservoir_init_selection_state(&reservoir, target);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			int place = -1;

			if (n < target)
				place = n++;
			else
			{
				if (skip < 0)
					skip = reservoir_get_next_S(&reservoir, seen, target);
				if (skip <= 0)
				{
					place = (int) (target * sampler_random_fract(&reservoir.randstate));
					heap_freetuple(rows[place]);
				}
				skip -= 1;
			}
			seen += 1;
			if (place >= 0)
			{
				MemoryContext old = MemoryContextSwitchTo(context);

				rows[place] = heap_copytuple(SPI_tuptable->vals[i]);
				MemoryContextSwitchTo(old);
			}
		}
		SPI_freetuptable(SPI_tuptable);
		docstore_delay_point();
	}
	SPI_cursor_close(portal);
	SPI_finish();
	*total = seen;
	*dead = 0;
	return n;
}

bool
view_analyze(Relation relation, AcquireSampleRowsFunc *func, BlockNumber *pages)
{
	View *view = view_find(view_of_relation(RelationGetRelid(relation)), NoLock);
	ViewProgress progress;
	uint64 bytes;
	uint64 entries;

	/* ANALYZE of the whole database must not fail for one table that is of no use now. */
	if (view == NULL || !has_privs_of_role(relation->rd_rel->relowner, view->owner) ||
		!view_progress_read(view->storage, NULL, &progress) || !progress.built)
		return false;
	docstore_kind_stats(DOCSTORE_KEY_VIEW, view->results, &bytes, &entries);
	*func = acquire_sample;
	*pages = (BlockNumber) Min(bytes / BLCKSZ + 1, (uint64) MaxBlockNumber);
	return true;
}
