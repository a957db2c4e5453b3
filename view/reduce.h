/*
 * reduce.h - runs a view's reduce over many sets of rows at once.
 */
#ifndef DOCSTORE_VIEW_REDUCE_H
#define DOCSTORE_VIEW_REDUCE_H

#include "postgres.h"

#include "view/catalog.h"
#include "view/entry.h"
#include "view/sums.h"

/* A set of rows to be reduced. */
typedef struct ViewJob
{
	/* given */
	LsmSlice *inputs; /* values as they are stored (entry.h): rows, or results of other sets */
	int ninputs;
	LsmSlice group; /* the key that the result must have */
	uint32 count;   /* of rows below, for the result's value */
	bool parts;     /* inputs are results of other sets */
	/* made */
	LsmSlice tail;         /* of a reduce that only sums: what stands behind the result's columns (sums.h) */
	StringInfoData result; /* as it is stored; an error in its place if the reduce fails for this set */
} ViewJob;

/* A reduce made ready, for as long as the process lives or until view_reduce_free. */
typedef struct ViewReduce ViewReduce;
extern ViewReduce *view_reduce_new(const View *view);
extern void view_reduce_free(ViewReduce *reduce);
/* NULL if it does not only sum, or has not run yet.  It stays with the reduce. */
extern ViewSums *view_reduce_sums(const ViewReduce *reduce);

/*
 * Reduces the sets; results are made in the current context.  Needs an active snapshot.  Returns NULL, or what is wrong with the
 * query itself.  Throws what is the fault of neither query nor rows.
 */
extern ErrorData *view_reduce_run(ViewReduce *reduce, ViewJob *jobs, int n);
/* The same for finalize: each job has one input, what the reduce made of a group; without a finalize that is the result. */
extern ErrorData *view_finalize_run(ViewReduce *reduce, ViewJob *jobs, int n);
/* What the reduce makes of no row; into a job without inputs. */
extern ErrorData *view_reduce_nothing(ViewReduce *reduce, ViewJob *job);

#endif
