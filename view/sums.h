/*
 * sums.h - results of a reduce that only sums, changed by what came and went.
 *
 * Such a result is what it was, plus the rows that came, less those that went: the others need not be read.  It
 * must be what the reduce would make of all of them, to the byte, and where that
 * cannot be known from here, the reduce has to be run.  What it takes stands behind the columns of a result (entry.h), for each
 * column that is summed:
 *
 *     values     varint32: how many are not null; the sum of none is null
 *     widest     numeric only, varint32: how many of them have as many decimals as the sum, which has as many as any
 */
#ifndef DOCSTORE_VIEW_SUMS_H
#define DOCSTORE_VIEW_SUMS_H

#include "postgres.h"

#include "view/catalog.h"
#include "view/entry.h"
#include "view/write.h"

typedef struct ViewSums ViewSums;

/* In the current context; NULL if the view's reduce does anything else.  The pin (pin.h) must be set. */
extern ViewSums *view_sums_new(const View *view);

/*
 * A set of rows, or of results (`parts`), is about to be reduced: what stands behind the columns of what the reduce makes of it.  Begin,
 * count each as it was read, with what view_entry_read returned, and end; what that returns stays until the next one ends.
 */
extern void view_sums_begin(ViewSums *sums);
extern void view_sums_count(ViewSums *sums, bool parts, const Datum *values, const bool *nulls, LsmSlice rest);
extern LsmSlice view_sums_end(ViewSums *sums);

/* Makes a result of so many rows of the one that was there before; false if the reduce must be run. */
extern bool view_sums_change(ViewSums *sums, LsmSlice before, const ViewChange *changes, int n, uint32 count, StringInfo result);

#endif
