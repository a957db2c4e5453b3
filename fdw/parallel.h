/*
 * parallel.h - one scan by several processes: parts of its range, handed out one after the other.
 *
 * Each process reads its parts in the scan's order, and they are handed out in that
 * order: what one process returns is sorted.
 */
#ifndef DOCSTORE_PARALLEL_H
#define DOCSTORE_PARALLEL_H

#include "postgres.h"

#include "nodes/pathnodes.h"

#include "fdw/seek.h"

/* What a scan costs the planner. */
typedef struct DocScanCost
{
	double fetched; /* rows that are read */
	double rows;    /* that pass the conditions */
	Cost startup;
	Cost disk;
	Cost cpu; /* which several processes share */
} DocScanCost;

/* Adds a path of several processes for a scan of files of so many bytes, if it is large enough. */
extern void doc_parts_add_path(PlannerInfo *root, RelOptInfo *rel, const DocScanCost *cost, double bytes, List *pathkeys, bool backward);

/* In the query's shared memory. */
typedef struct DocParts DocParts;

extern Size doc_parts_size(int workers);
/* Cuts the range, which is not one of points; all begin anew. */
extern void doc_parts_init(DocParts *parts, int workers, const SeekRange *range);
/* The next part's bounds, which borrow from parts and range; false if there is none left. */
extern bool doc_parts_next(DocParts *parts, const SeekRange *range, bool backward, LsmSlice *lower, LsmSlice *upper);

/* Adds to what all processes together have read, and empties counts; gives it out. */
extern void doc_parts_add(DocParts *parts, LsmReadCounts *counts);
extern LsmReadCounts doc_parts_counts(DocParts *parts);

/* Can every value of a table's typed columns be made in a worker process? */
extern bool doc_parts_allowed(const DocTable *table);

#endif
