/*
 * copy.c - rows of a COPY FROM, written in batches (copy.h).
 *
 * Before PostgreSQL 16 COPY calls ExecForeignInsert for each row, which costs a WAL
 * record and a round of locks each.  Here rows are kept until there are
 * enough, or the COPY ends.  As for a table that is only done if nothing runs in between that might look
 * for them: no trigger of any kind, no volatile function in a default or in the COPY's WHERE.
 *
 * An error about a row that was kept names its line; PostgreSQL's own context would name the last one that was read.
 */
#include "postgres.h"

#include "fdw/copy.h"

#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "optimizer/optimizer.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/compat.h"

struct DocCopy
{
	CopyFromState state;
	MemoryContext context; /* documents of the batch */
	int size;              /* rows that it may have */
	int n;
	Size bytes;
	DocumentKey *keys;
	Jsonb **docs;
	uint64 *lines;
	uint64 *etags;
	DocWriter *writer; /* while it writes */
};

DocCopy *
doc_copy_begin(ResultRelInfo *rri, int batch_size, MemoryContext context)
{
	CopyFromState state = docstore_single_copy();
	MemoryContext old;
	DocCopy *copy;

	if (state == NULL || state->rel != rri->ri_RelationDesc || batch_size < 2 || rri->ri_TrigDesc != NULL ||
		state->volatile_defexprs || contain_volatile_functions(state->whereClause))
		return NULL;
	old = MemoryContextSwitchTo(context);
	copy = palloc0(sizeof(DocCopy));
	copy->state = state;
	copy->context = AllocSetContextCreate(context, "docstore copy", ALLOCSET_DEFAULT_SIZES);
	copy->size = Min(batch_size, DOCSTORE_MAX_BATCH);
	copy->keys = palloc(copy->size * sizeof(DocumentKey));
	copy->docs = palloc(copy->size * sizeof(Jsonb *));
	copy->lines = palloc(copy->size * sizeof(uint64));
	copy->etags = palloc(copy->size * sizeof(uint64));
	MemoryContextSwitchTo(old);
	return copy;
}

static void
name_line(void *arg)
{
	DocCopy *copy = arg;
	const DocumentKey *key = copy->writer->deciding;

	if (key >= copy->keys && key < copy->keys + copy->n)
		errcontext("COPY %s, line %llu", RelationGetRelationName(copy->state->rel),
				   (unsigned long long) copy->lines[key - copy->keys]);
}

void
doc_copy_flush(DocCopy *copy, DocWriter *writer)
{
	ErrorContextCallback *before = error_context_stack;
	ErrorContextCallback callback = {.callback = name_line, .arg = copy, .previous = before};
	MemoryContext old;

	if (copy->n == 0)
		return;
	if (before != NULL && before->callback == CopyFromErrorCallback)
		callback.previous = before->previous;
	error_context_stack = &callback;
	copy->writer = writer;
	old = MemoryContextSwitchTo(copy->context);
	docstore_insert_many(writer, copy->n, copy->keys, copy->docs, GetCurrentTimestamp(), copy->etags);
	MemoryContextSwitchTo(old);
	error_context_stack = before;
	MemoryContextReset(copy->context);
	copy->n = 0;
	copy->bytes = 0;
}

void
doc_copy_add(DocCopy *copy, DocWriter *writer, const DocumentKey *key, const Jsonb *doc)
{
	int i = copy->n++;

	copy->keys[i].len = key->len;
	memcpy(copy->keys[i].data, key->data, key->len);
	copy->docs[i] = memcpy(MemoryContextAlloc(copy->context, VARSIZE_ANY(doc)), doc, VARSIZE_ANY(doc));
	copy->lines[i] = copy->state->cur_lineno;
	copy->bytes += VARSIZE_ANY(doc);
	if (copy->n == copy->size || copy->bytes > docstore_batch_bytes())
		doc_copy_flush(copy, writer);
}
