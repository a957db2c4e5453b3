/*
 * tree.c - keeps the trees of partial results (tree.h).
 *
 * First every node that changes touch is found, from the roots down; whether one has
 * children is seen from the number of its rows alone, before and now, and what it
 * comes to perhaps from what it was.  Then
 * they are computed, from the deepest level up, all groups together, each level
 * from what the one below has written.
 */
#include "postgres.h"

#include "view/tree.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "view/errors.h"
#include "view/pin.h"
#include "view/tree_nodes.h"

#define BITS 4
#define FANOUT (1 << BITS)
#define MAX_DEPTH (32 / BITS)
/* Sets that are reduced together. */
#define CHUNK_BYTES (4 * 1024 * 1024)
#define CHUNK_JOBS 2000

/* ---- keys ---- */

void
tree_start_key(const Tree *tree, StringInfo key, char kind, LsmSlice group)
{
	char prefix[DOCSTORE_KEY_PREFIX];

	docstore_key_prefix(prefix, kind, MyDatabaseId, kind == DOCSTORE_KEY_VIEW ? tree->view->results : tree->view->storage);
	resetStringInfo(key);
	appendBinaryStringInfo(key, prefix, sizeof(prefix));
	appendBinaryStringInfo(key, group.data, (int) group.len);
}

static void
append_hash(StringInfo key, uint32 hash)
{
	hash = pg_hton32(hash);
	appendBinaryStringInfo(key, (char *) &hash, sizeof(hash));
}

static void
node_key(const Tree *tree, StringInfo key, LsmSlice group, int depth, uint32 hash)
{
	tree_start_key(tree, key, depth == 0 ? DOCSTORE_KEY_VIEW : DOCSTORE_KEY_PARTIAL, group);
	if (depth > 0)
	{
		appendStringInfoChar(key, (char) depth);
		append_hash(key, hash);
	}
}

/* The first hash behind those of a node; 0 if there is none. */
static uint32
behind(int depth, uint32 hash)
{
	return depth == 0 ? 0 : hash + ((uint32) 1 << (32 - BITS * depth));
}

/* tree->lower, upper: the rows below a node. */
static void
range_of_rows(Tree *tree, LsmSlice group, int depth, uint32 hash)
{
	uint32 end = behind(depth, hash);

	tree_start_key(tree, &tree->lower, DOCSTORE_KEY_MAPPED, group);
	tree_start_key(tree, &tree->upper, DOCSTORE_KEY_MAPPED, group);
	append_hash(&tree->lower, hash);
	if (end != 0)
		append_hash(&tree->upper, end);
	else
		(void) view_key_behind(&tree->upper);
}

/* The same: the nodes of a depth below a node. */
static void
range_of_nodes(Tree *tree, LsmSlice group, int depth, uint32 hash, int below)
{
	uint32 end = behind(depth, hash);

	tree_start_key(tree, &tree->lower, DOCSTORE_KEY_PARTIAL, group);
	tree_start_key(tree, &tree->upper, DOCSTORE_KEY_PARTIAL, group);
	appendStringInfoChar(&tree->lower, (char) below);
	append_hash(&tree->lower, hash);
	appendStringInfoChar(&tree->upper, (char) (end != 0 ? below : below + 1));
	if (end != 0)
		append_hash(&tree->upper, end);
}

static void
begin_range(Tree *tree)
{
	doc_cursor_open(tree->cursor, lsm_slice(tree->lower.data, tree->lower.len), lsm_slice(tree->upper.data, tree->upper.len));
	lsm_scan_first(tree->cursor->scan);
}

static void
end_range(Tree *tree)
{
	lsm_scan_release(tree->cursor->scan);
	docstore_check(tree->cursor->scan->status, &tree->cursor->scan->err);
	doc_cursor_close(tree->cursor);
}

LsmSlice
tree_copy_slice(LsmSlice slice)
{
	char *copy = palloc(slice.len + 1);

	memcpy(copy, slice.data, slice.len);
	return lsm_slice(copy, slice.len);
}

/* ---- which nodes ---- */

TreeNode *
tree_add_node(Tree *tree, LsmSlice group, int depth, uint32 hash, uint32 count)
{
	TreeNode *node;

	if (tree->nnodes == tree->max_nodes)
	{
		tree->max_nodes = Max(tree->max_nodes * 2, 1024);
		tree->nodes = tree->nodes == NULL ? MemoryContextAllocHuge(tree->context, tree->max_nodes * sizeof(TreeNode))
										  : repalloc_huge(tree->nodes, tree->max_nodes * sizeof(TreeNode));
	}
	node = &tree->nodes[tree->nnodes++];
	memset(node, 0, sizeof(*node));
	node->group = group;
	node->depth = depth;
	node->hash = hash;
	node->count = count;
	tree->deepest = Max(tree->deepest, depth);
	return node;
}

bool
tree_has_children(const Tree *tree, int depth, uint32 count)
{
	return depth < MAX_DEPTH && count > (uint32) tree->view->block_rows;
}

/* What is stored of a node, until the next one is asked for; data NULL: nothing. */
static LsmSlice
stored_before(Tree *tree, LsmSlice group, int depth, uint32 hash)
{
	LsmBuf value = {0};
	LsmVersion version;
	LsmStatus status;
	LsmError err;

	node_key(tree, &tree->lower, group, depth, hash);
	status = lsm_get(tree->writer.db, &tree->read, lsm_slice(tree->lower.data, tree->lower.len), &value, &version, &err);
	resetStringInfo(&tree->before);
	/* Into memory that an error lets go of. */
	if (status == LSM_OK)
		appendBinaryStringInfo(&tree->before, value.data, (int) value.len);
	lsm_buf_free(&value);
	if (status != LSM_OK && status != LSM_NOT_FOUND)
		docstore_throw(&err);
	return status == LSM_OK ? lsm_slice(tree->before.data, tree->before.len) : lsm_slice(NULL, 0);
}

/* A node's result by what it was and what came and went, if that can be known. */
static void
change_sums(Tree *tree, TreeNode *node, LsmSlice before, const ViewChange *changes, int n)
{
	ViewSums *sums = view_reduce_sums(tree->reduce);
	StringInfoData result;

	if (sums == NULL || node->count == 0 || before.data == NULL || view_entry_is_error(before))
		return;
	if (node->depth == 0 && tree->view->finalize != NULL)
		before = view_entry_behind(tree->finalized, before);
	initStringInfo(&result);
	if (before.len > 0 && view_sums_change(sums, before, changes, n, node->count, &result))
		node->result = tree_copy_slice(lsm_slice(result.data, result.len));
	pfree(result.data);
}

/* A node that had no children gets them. */
void
tree_grow(Tree *tree, LsmSlice group, int depth, uint32 hash, int parent)
{
	int shift = 32 - BITS * (depth + 1);
	uint32 counts[FANOUT] = {0};

	range_of_rows(tree, group, depth, hash);
	begin_range(tree);
	for (LsmScan *at = tree->cursor->scan; at->valid; lsm_scan_next(at))
	{
		uint32 of_row;

		(void) view_entry_group_of(lsm_slice(at->key.data + DOCSTORE_KEY_PREFIX, at->key.len - DOCSTORE_KEY_PREFIX), at->value, &of_row);
		lsm_scan_release(at);
		counts[(of_row >> shift) & (FANOUT - 1)]++;
		CHECK_FOR_INTERRUPTS();
	}
	end_range(tree);
	for (uint32 i = 0; i < FANOUT; i++)
	{
		uint32 child = hash | (i << shift);

		if (counts[i] == 0)
			continue;
		tree_add_node(tree, group, depth + 1, child, counts[i])->parent = parent;
		if (tree_has_children(tree, depth + 1, counts[i]))
			tree_grow(tree, group, depth + 1, child, tree->nnodes - 1);
	}
}

/* Deletes what lies between tree->lower and upper; false if there was nothing. */
bool
tree_delete_range(Tree *tree)
{
	StringInfoData key;
	bool any = false;

	initStringInfo(&key);
	begin_range(tree);
	for (LsmScan *at = tree->cursor->scan; at->valid; lsm_scan_next(at))
	{
		resetStringInfo(&key);
		appendBinaryStringInfo(&key, at->key.data, (int) at->key.len);
		lsm_scan_release(at);
		view_writer_put(&tree->writer, lsm_slice(key.data, key.len), NULL);
		any = true;
		CHECK_FOR_INTERRUPTS();
	}
	end_range(tree);
	pfree(key.data);
	return any;
}

/* A node that had children has none any more. */
static void
cut(Tree *tree, LsmSlice group, int depth, uint32 hash)
{
	for (int below = depth + 1; below <= MAX_DEPTH; below++)
	{
		range_of_nodes(tree, group, depth, hash, below);
		if (!tree_delete_range(tree))
			break;
	}
}

/* The nodes that changes touch; those are sorted, and all below this one. */
static void
touch(Tree *tree, int depth, uint32 hash, int parent, const ViewChange *changes, int n)
{
	int shift = 32 - BITS * (depth + 1);
	LsmSlice group = changes[0].group;
	LsmSlice before = stored_before(tree, group, depth, hash);
	uint32 count_before = before.data == NULL ? 0 : view_entry_count(before);
	int64 count = count_before;
	bool had = tree_has_children(tree, depth, count_before);
	int place = tree->nnodes;
	TreeNode *node;

	for (int i = 0; i < n; i++)
		count += changes[i].delta;
	if (count < 0 || count > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the number of rows of a group in docstore view \"%s\" is wrong", tree->view->name),
				 errhint("Drop the view and make it again.")));
	node = tree_add_node(tree, group, depth, hash, (uint32) count);
	node->parent = parent;
	node->existed = before.data != NULL;
	node->failed = node->existed && view_entry_is_error(before);
	change_sums(tree, node, before, changes, n);
	if (!tree_has_children(tree, depth, (uint32) count))
	{
		if (had)
			cut(tree, group, depth, hash);
		return;
	}
	if (!had)
	{
		tree_grow(tree, group, depth, hash, place);
		return;
	}
	for (int i = 0; i < n;)
	{
		uint32 child = changes[i].hash >> shift;
		int first = i;

		while (i < n && changes[i].hash >> shift == child)
			i++;
		touch(tree, depth + 1, child << shift, place, &changes[first], i - first);
	}
}

/* ---- computing them ---- */

static Size
add_input(ViewJob *job, int *max, LsmSlice value)
{
	if (job->ninputs == *max)
	{
		*max = Max(*max * 2, FANOUT);
		job->inputs = job->inputs == NULL ? palloc(*max * sizeof(LsmSlice)) : repalloc(job->inputs, *max * sizeof(LsmSlice));
	}
	job->inputs[job->ninputs++] = tree_copy_slice(value);
	return value.len + sizeof(LsmSlice);
}

/* What a node is made of; into job->result if that is an error, or its result is known. */
static Size
read_inputs(Tree *tree, const TreeNode *node, ViewJob *job)
{
	bool children = tree_has_children(tree, node->depth, node->count);
	uint32 below = 0;
	Size bytes = 0;
	int max = 0;

	job->group = node->group;
	job->count = node->count;
	job->parts = children;
	if (node->result.data != NULL)
	{
		initStringInfo(&job->result);
		appendBinaryStringInfo(&job->result, node->result.data, (int) node->result.len);
		return node->result.len;
	}
	if (node->rows != NULL)
	{
		job->inputs = node->rows;
		job->ninputs = (int) node->count;
		return 0;
	}
	if (children)
		range_of_nodes(tree, node->group, node->depth, node->hash, node->depth + 1);
	else
		range_of_rows(tree, node->group, node->depth, node->hash);
	begin_range(tree);
	for (LsmScan *at = tree->cursor->scan; at->valid; lsm_scan_next(at))
	{
		LsmSlice value = tree_copy_slice(at->value);

		lsm_scan_release(at);
		below += children ? view_entry_count(value) : 1;
		if (children && view_entry_is_error(value) && job->result.data == NULL)
		{
			initStringInfo(&job->result);
			view_entry_error_copy(&job->result, node->count, value);
		}
		bytes += add_input(job, &max, value);
		pfree((char *) value.data);
		CHECK_FOR_INTERRUPTS();
	}
	end_range(tree);
	if (below != node->count)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the number of rows of a group in docstore view \"%s\" is wrong", tree->view->name),
				 errdetail("%u rows are noted, %u are there.", node->count, below),
				 errhint("Drop the view and make it again.")));
	return bytes;
}

/* The group's columns, as any of its rows has them, in JSON. */
static char *
describe_group(Tree *tree, const TreeNode *node)
{
	const ViewShape *shape = tree->view->rows;
	ViewLayout *layout = view_layout(shape);
	Datum *values = palloc(layout->ncolumns * sizeof(Datum));
	bool *nulls = palloc(layout->ncolumns * sizeof(bool));
	LsmSlice row = {NULL, 0};
	StringInfoData text;
	ViewPin pin;

	range_of_rows(tree, node->group, 0, 0);
	begin_range(tree);
	if (tree->cursor->scan->valid)
		row = tree_copy_slice(tree->cursor->scan->value);
	end_range(tree);
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	/* Whoever's session this is. */
	view_pin(&pin, tree->view->owner);
	if (row.data != NULL)
		view_entry_read(layout, row, NULL, values, nulls);
	for (int i = 0; row.data != NULL && i < shape->nkeys; i++)
	{
		int at = shape->key_attribute[i] - 1;
		bool varlena;
		Oid output;

		appendStringInfoString(&text, i > 0 ? ", " : "");
		escape_json(&text, shape->columns[at].name);
		appendStringInfoString(&text, ": ");
		getTypeOutputInfo(shape->columns[at].type, &output, &varlena);
		if (nulls[at])
			appendStringInfoString(&text, "null");
		else
			escape_json(&text, OidOutputFunctionCall(output, values[at]));
	}
	view_unpin(&pin);
	appendStringInfoChar(&text, '}');
	return text.data;
}

static bool
is_stored(Tree *tree, StringInfo key, LsmSlice value)
{
	LsmBuf found = {0};
	LsmVersion version;
	LsmStatus status;
	LsmError err;
	bool same;

	status = lsm_get(tree->writer.db, &tree->read, lsm_slice(key->data, key->len), &found, &version, &err);
	same = status == LSM_OK && lsm_slice_compare(lsm_buf_slice(&found), value) == 0;
	lsm_buf_free(&found);
	if (status != LSM_OK && status != LSM_NOT_FOUND)
		docstore_throw(&err);
	return same;
}

static void
store(Tree *tree, const TreeNode *node, StringInfo result)
{
	StringInfoData key;
	LsmSlice value = lsm_slice(result->data, result->len);

	initStringInfo(&key);
	node_key(tree, &key, node->group, node->depth, node->hash);
	/* Replications are told of what changes, and not of what is computed again. */
	if (node->depth > 0 || !node->existed || !tree->view->tracked || !is_stored(tree, &key, value))
		view_writer_put(&tree->writer, lsm_slice(key.data, key.len), &value);
	pfree(key.data);
	if (node->depth > 0)
	{
		/* A part that fails fails the whole, as in a view that is made anew, also where what it would come to is known. */
		if (view_entry_is_error(value))
			tree->nodes[node->parent].result = lsm_slice(NULL, 0);
		return;
	}
	if (!node->existed)
		tree->progress->groups++;
	if (view_entry_is_error(value))
		view_errors_note_group(tree->view, node->group, describe_group(tree, node), value);
	else if (node->failed)
		view_errors_forget_group(tree->view, node->group);
}

static void
forget(Tree *tree, const TreeNode *node)
{
	StringInfoData key;

	initStringInfo(&key);
	node_key(tree, &key, node->group, node->depth, node->hash);
	view_writer_put(&tree->writer, lsm_slice(key.data, key.len), NULL);
	pfree(key.data);
	if (node->depth == 0 && node->existed)
		tree->progress->groups--;
	if (node->depth == 0 && node->failed)
		view_errors_forget_group(tree->view, node->group);
}

/* Roots: what the reduce made becomes what readers see. */
static ErrorData *
finalize(Tree *tree, ViewJob *jobs, int n)
{
	ViewJob *last = palloc0(n * sizeof(ViewJob));
	int *of = palloc(n * sizeof(int));
	ErrorData *fault;
	int m = 0;

	for (int i = 0; i < n; i++)
	{
		LsmSlice result = lsm_slice(jobs[i].result.data, jobs[i].result.len);

		if (view_entry_is_error(result))
			continue;
		last[m] = jobs[i];
		last[m].inputs = palloc(sizeof(LsmSlice));
		last[m].inputs[0] = result;
		last[m].ninputs = 1;
		of[m++] = i;
	}
	fault = view_finalize_run(tree->reduce, last, m);
	for (int i = 0; i < m && fault == NULL; i++)
	{
		/* Behind it, what later changes begin with. */
		if (view_reduce_sums(tree->reduce) != NULL && !view_entry_is_error(lsm_slice(last[i].result.data, last[i].result.len)))
			appendBinaryStringInfo(&last[i].result, last[i].inputs[0].data, (int) last[i].inputs[0].len);
		jobs[of[i]].result = last[i].result;
	}
	return fault;
}

static ErrorData *
run_chunk(Tree *tree, TreeNode **nodes, ViewJob *jobs, int n)
{
	ViewJob *whole = palloc0(n * sizeof(ViewJob));
	int *of = palloc(n * sizeof(int));
	ErrorData *fault = NULL;
	int m = 0;

	/* Some are known: sums, and that a part that failed fails the whole. */
	for (int i = 0; i < n; i++)
		if (jobs[i].result.data == NULL && jobs[i].ninputs > 0)
		{
			whole[m] = jobs[i];
			of[m++] = i;
		}
		else if (jobs[i].result.data == NULL)
			fault = view_reduce_nothing(tree->reduce, &jobs[i]);
	if (fault == NULL)
		fault = view_reduce_run(tree->reduce, whole, m);
	if (fault != NULL)
		return fault;
	for (int i = 0; i < m; i++)
	{
		jobs[of[i]].result = whole[i].result;
		if (whole[i].result.data == NULL)
			elog(ERROR, "the reduce of docstore view \"%s\" returned no row for a group", tree->view->name);
	}
	tree->progress->reductions += n;
	if (n > 0 && nodes[0]->depth == 0 && tree->view->finalize != NULL)
		fault = finalize(tree, jobs, n);
	for (int i = 0; i < n && fault == NULL; i++)
		store(tree, nodes[i], &jobs[i].result);
	return fault;
}

/* What this transaction has written so far is seen from here on. */
static void
see_own(Tree *tree)
{
	view_writer_flush(&tree->writer);
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	view_writer_begin(&tree->writer, tree->view);
}

ErrorData *
tree_compute(Tree *tree)
{
	ViewJob *jobs = palloc(CHUNK_JOBS * sizeof(ViewJob));
	TreeNode **nodes = palloc(CHUNK_JOBS * sizeof(TreeNode *));
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "docstore reduce chunk", ALLOCSET_DEFAULT_SIZES);
	ErrorData *fault = NULL;

	for (int depth = tree->deepest; depth >= 0 && fault == NULL; depth--)
	{
		Size bytes = 0;
		int n = 0;

		for (int i = 0; i <= tree->nnodes && fault == NULL; i++)
		{
			TreeNode *node = &tree->nodes[i];
			MemoryContext old;

			if (i == tree->nnodes || n == CHUNK_JOBS || bytes > CHUNK_BYTES)
			{
				old = MemoryContextSwitchTo(chunk);
				fault = run_chunk(tree, nodes, jobs, n);
				MemoryContextSwitchTo(old);
				if (fault == NULL)
					MemoryContextReset(chunk);
				n = 0;
				bytes = 0;
			}
			if (i == tree->nnodes || node->depth != depth || fault != NULL)
				continue;
			CHECK_FOR_INTERRUPTS();
			/* Without groups there is always a result. */
			if (node->count == 0 && (depth > 0 || tree->view->rows->nkeys > 0))
			{
				forget(tree, node);
				continue;
			}
			nodes[n] = node;
			memset(&jobs[n], 0, sizeof(ViewJob));
			old = MemoryContextSwitchTo(chunk);
			bytes += read_inputs(tree, node, &jobs[n]);
			MemoryContextSwitchTo(old);
			n++;
		}
		if (depth > 0 && fault == NULL)
			see_own(tree);
	}
	view_writer_flush(&tree->writer);
	return fault;
}

/* ---- both ways of use ---- */

void
tree_init(Tree *tree, const View *view, ViewReduce *reduce, Snapshot snapshot, ViewProgress *progress)
{
	memset(tree, 0, sizeof(*tree));
	tree->view = view;
	tree->reduce = reduce;
	tree->snapshot = snapshot;
	tree->progress = progress;
	tree->context = CurrentMemoryContext;
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	tree->cursor = doc_cursor_new(snapshot);
	docstore_read_init(&tree->read, snapshot);
	view_writer_begin(&tree->writer, tree->view);
	initStringInfo(&tree->lower);
	initStringInfo(&tree->upper);
	initStringInfo(&tree->before);
	if (view->finalize != NULL)
		tree->finalized = view_layout(view->shape);
}

static int
by_place(const void *a, const void *b)
{
	const ViewChange *x = a;
	const ViewChange *y = b;
	int order = lsm_slice_compare(x->group, y->group);

	if (order != 0)
		return order;
	return x->hash < y->hash ? -1 : x->hash > y->hash ? 1
													  : 0;
}

ErrorData *
view_tree_apply(const View *view, ViewReduce *reduce, ViewChanges *changes, Snapshot snapshot, ViewProgress *progress)
{
	Tree tree;

	if (changes->n == 0)
		return NULL;
	tree_init(&tree, view, reduce, snapshot, progress);
	qsort(changes->array, changes->n, sizeof(ViewChange), by_place);
	for (int i = 0; i < changes->n;)
	{
		int first = i;

		while (i < changes->n && lsm_slice_compare(changes->array[i].group, changes->array[first].group) == 0)
			i++;
		touch(&tree, 0, 0, -1, &changes->array[first], i - first);
		CHECK_FOR_INTERRUPTS();
	}
	return tree_compute(&tree);
}
