/*
 * tree_nodes.h - nodes of the trees of partial results (tree.h), for those that say which of them to compute.
 *
 * tree_init, then a node for each that is to be computed, then tree_compute.
 */
#ifndef DOCSTORE_VIEW_TREE_NODES_H
#define DOCSTORE_VIEW_TREE_NODES_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "fdw/scan.h"
#include "store/store.h"
#include "view/tree.h"

typedef struct TreeNode
{
	LsmSlice group;
	int depth;
	uint32 hash; /* of its first row at the earliest; bits behind those of the depth are 0 */
	uint32 count;
	int parent;   /* its place among the nodes; the root has none */
	bool existed; /* the root: there was a result ... */
	bool failed;  /* ... that was an error */
	/* of a build: its rows, which were just read */
	LsmSlice *rows;
	LsmSlice result; /* what the reduce would make of it, if that is known already */
} TreeNode;

/* Those of one transaction, of all groups together; freed with the memory context that it was made in. */
typedef struct Tree
{
	const View *view;
	ViewReduce *reduce;
	Snapshot snapshot;
	ViewProgress *progress;
	DocCursor *cursor;
	LsmRead read;
	ViewWriter writer;
	MemoryContext context; /* of nodes */
	TreeNode *nodes;
	int nnodes;
	int max_nodes;
	int deepest;
	StringInfoData lower;
	StringInfoData upper;
	StringInfoData before;
	ViewLayout *finalized; /* of results; NULL: there is no finalize */
} Tree;

extern void tree_init(Tree *tree, const View *view, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress);
/* The group is borrowed.  What is returned may move with the next one. */
extern TreeNode *tree_add_node(Tree *tree, LsmSlice group, int depth, uint32 hash, uint32 count);
/* Is a node of so many rows made of others? */
extern bool tree_has_children(const Tree *tree, int depth, uint32 count);
/* Adds all nodes below one (`parent`) that has had no children so far. */
extern void tree_grow(Tree *tree, LsmSlice group, int depth, uint32 hash, int parent);
/* Computes and stores them, the deepest first.  Returns NULL, or what is wrong with the reduce. */
extern ErrorData *tree_compute(Tree *tree);

extern void tree_start_key(const Tree *tree, StringInfo key, char kind, LsmSlice group);
/* Deletes what lies between tree->lower and upper; false if there was nothing. */
extern bool tree_delete_range(Tree *tree);
extern LsmSlice tree_copy_slice(LsmSlice slice);

#endif
