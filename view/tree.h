/*
 * tree.h - the results of a view with a reduce, and the partial results from which they are made.
 *
 * The rows of a group (kind 'm', entry.h) lie in the order of a hash of what they
 * are.  Up to block_rows of them are reduced in one step.  Above that the
 * group has a tree: a node of depth d covers the rows whose hashes begin with the
 * same d times 4 bits; one with more than block_rows rows has 16 children, and its
 * partial result is the reduce of theirs; the others are reduced from their rows.  So the shape of
 * a tree depends on nothing but the rows that are there, and a row that comes, goes or
 * changes costs one node a level.  The root is the group's result.  Where a reduce only sums, a node is changed by what
 * came and went below it (sums.h), and nothing else of the group is read.
 *
 * Keys behind the prefix: result, kind 'v': the group; partial result of a
 * node below the root, kind 'p': group, depth 1 byte, hash 4 bytes big-endian,
 * of which the bits behind those of the depth are 0.  Values: entry.h.
 */
#ifndef DOCSTORE_VIEW_TREE_H
#define DOCSTORE_VIEW_TREE_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "view/progress.h"
#include "view/reduce.h"
#include "view/write.h"

/*
 * Brings the results up to date with changes that view_write_... noted, in the same transaction.  The
 * snapshot is the active one; it sees what the transaction has written from here on.  Counts groups and
 * reductions.  Returns NULL, or what is wrong with the reduce.
 */
extern ErrorData *view_tree_apply(const View *view, ViewReduce *reduce, ViewChanges *changes, Snapshot snapshot,
								  ViewProgress *progress);
/* Takes away all results, because there are no rows any more. */
extern ErrorData *view_tree_clear(const View *view, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress);
/*
 * Makes results of rows that have none: of the next groups behind progress->next_group, which moves; progress->reduced: that were
 * all.
 */
extern ErrorData *view_tree_build(const View *view, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress);
/* The view has got another finalize, and new storage for its results; `before` is what they were in. */
extern ErrorData *view_tree_finalize(const View *view, uint64 before, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress);

#endif
