/*
 * tree_build.c - results of many groups at once: of a view that is built, emptied, or given another finalize (tree.h).
 */
#include "postgres.h"

#include "view/tree.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "view/errors.h"
#include "view/tree_nodes.h"

/* A batch of a build ends with the first group behind so many rows. */
#define BUILD_ROWS 20000
/* Groups whose finalize is run together. */
#define FINALIZE_GROUPS 20000

ErrorData *
view_tree_clear(const View *view, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress)
{
	static const char kinds[] = {DOCSTORE_KEY_VIEW, DOCSTORE_KEY_PARTIAL};
	LsmSlice nothing = {"", 0};
	Tree tree;

	tree_init(&tree, view, reduce, snapshot, progress);
	for (int i = 0; i < lengthof(kinds); i++)
	{
		tree_start_key(&tree, &tree.lower, kinds[i], nothing);
		tree_start_key(&tree, &tree.upper, kinds[i], nothing);
		(void) view_key_behind(&tree.upper);
		(void) tree_delete_range(&tree);
	}
	progress->groups = 0;
	view_errors_forget(view, VIEW_ERRORS_GROUPS);
	if (view->rows->nkeys == 0)
		(void) tree_add_node(&tree, nothing, 0, 0, 0);
	return tree_compute(&tree);
}

ErrorData *
view_tree_build(const View *view, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress)
{
	LsmSlice nothing = {"", 0};
	LsmSlice group = {NULL, 0};
	LsmSlice *rows = NULL;
	uint32 count = 0;
	int total = 0;
	bool over = false;
	DocCursor *cursor;
	Tree tree;

	tree_init(&tree, view, reduce, snapshot, progress);
	tree_start_key(&tree, &tree.lower, DOCSTORE_KEY_MAPPED, nothing);
	tree_start_key(&tree, &tree.upper, DOCSTORE_KEY_MAPPED, nothing);
	(void) view_key_behind(&tree.upper);
	if (progress->next_group != NULL)
		appendBinaryStringInfo(&tree.lower, VARDATA(progress->next_group), (int) VARSIZE(progress->next_group) - VARHDRSZ);
	/* Not the tree's cursor: that one looks into groups meanwhile. */
	cursor = doc_cursor_new(snapshot);
	doc_cursor_open(cursor, lsm_slice(tree.lower.data, tree.lower.len), lsm_slice(tree.upper.data, tree.upper.len));
	lsm_scan_first(cursor->scan);
	for (;;)
	{
		LsmScan *at = cursor->scan;
		LsmSlice value = {NULL, 0};
		LsmSlice key = {NULL, 0};
		LsmSlice next = {NULL, 0};

		if (at->valid)
		{
			uint32 hash;

			value = tree_copy_slice(at->value);
			key = tree_copy_slice(lsm_slice(at->key.data + DOCSTORE_KEY_PREFIX, at->key.len - DOCSTORE_KEY_PREFIX));
			lsm_scan_release(at);
			next = view_entry_group_of(key, value, &hash);
		}
		if (group.data != NULL && (!at->valid || lsm_slice_compare(next, group) != 0))
		{
			/* A group is complete. */
			TreeNode *node = tree_add_node(&tree, group, 0, 0, count);

			if (tree_has_children(&tree, 0, count))
				tree_grow(&tree, group, 0, 0, tree.nnodes - 1);
			else
				node->rows = rows;
			over = total >= BUILD_ROWS;
			group.data = NULL;
			rows = NULL;
			count = 0;
		}
		if (!at->valid || over)
		{
			if (over && at->valid)
			{
				progress->next_group = palloc(VARHDRSZ + next.len);
				SET_VARSIZE(progress->next_group, VARHDRSZ + next.len);
				memcpy(VARDATA(progress->next_group), next.data, next.len);
			}
			else
				progress->reduced = true;
			break;
		}
		if (group.data == NULL)
			group = next;
		if (count < (uint32) view->block_rows)
		{
			if (rows == NULL)
				rows = palloc(view->block_rows * sizeof(LsmSlice));
			rows[count] = value;
		}
		else
		{
			/* It will have a tree, and its rows be read block by block. */
			for (int i = 0; rows != NULL && i < view->block_rows; i++)
				pfree((char *) rows[i].data);
			if (rows != NULL)
				pfree(rows);
			rows = NULL;
			pfree((char *) value.data);
		}
		if (group.data != next.data)
			pfree((char *) key.data);
		count++;
		total++;
		CHECK_FOR_INTERRUPTS();
		lsm_scan_next(at);
	}
	lsm_scan_release(cursor->scan);
	docstore_check(cursor->scan->status, &cursor->scan->err);
	doc_cursor_close(cursor);
	progress->rows_reduced += total;
	/* Without groups there is always a result, of no rows, too. */
	if (progress->reduced && view->rows->nkeys == 0 && tree.nnodes == 0)
		(void) tree_add_node(&tree, nothing, 0, 0, 0);
	return tree_compute(&tree);
}

/* The same groups with the same rows and partial results: only what is above them is computed. */
ErrorData *
view_tree_finalize(const View *view, uint64 before, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress)
{
	DocCursor *cursor = doc_cursor_new(snapshot);
	char lower[DOCSTORE_KEY_PREFIX];
	char upper[DOCSTORE_KEY_PREFIX];
	ErrorData *fault = NULL;

	docstore_key_prefix(lower, DOCSTORE_KEY_VIEW, MyDatabaseId, before);
	docstore_key_prefix_end(upper, DOCSTORE_KEY_VIEW, MyDatabaseId, before);
	doc_cursor_open(cursor, lsm_slice(lower, sizeof(lower)), lsm_slice(upper, sizeof(upper)));
	lsm_scan_first(cursor->scan);
	while (cursor->scan->valid && fault == NULL)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore finalize", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		Tree tree;

		tree_init(&tree, view, reduce, snapshot, progress);
		for (LsmScan *at = cursor->scan; at->valid; lsm_scan_next(at))
		{
			uint32 count = view_entry_count(at->value);
			bool failed = view_entry_is_error(at->value);
			TreeNode *node;
			LsmSlice group = tree_copy_slice(lsm_slice(at->key.data + DOCSTORE_KEY_PREFIX, at->key.len - DOCSTORE_KEY_PREFIX));

			lsm_scan_release(at);
			node = tree_add_node(&tree, group, 0, 0, count);
			node->existed = true;
			node->failed = failed;
			if (tree.nnodes == FINALIZE_GROUPS)
				break;
			CHECK_FOR_INTERRUPTS();
		}
		fault = tree_compute(&tree);
		MemoryContextSwitchTo(old);
		/* What a fault says must stay. */
		if (fault == NULL)
			MemoryContextDelete(context);
		if (cursor->scan->valid)
			lsm_scan_next(cursor->scan);
	}
	lsm_scan_release(cursor->scan);
	docstore_check(cursor->scan->status, &cursor->scan->err);
	doc_cursor_close(cursor);
	return fault;
}
