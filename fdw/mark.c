/*
 * mark.c - rows found again (mark.h).
 *
 * What is remembered of a row: its etag, its id's length, its id; its number is
 * where that begins.  Nothing is ever forgotten before the statement ends, for a
 * sort above the scan may hold any row.
 */
#include "postgres.h"

#include "fdw/mark.h"

#include "commands/tablespace.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "fdw/row.h"
#include "fdw/sight.h"
#include "fdw/write.h"

typedef struct MarkHead
{
	uint64 etag;
	uint16 len;
} MarkHead;
#define MARK_HEAD (sizeof(uint64) + sizeof(uint16))

struct DocMark
{
	MemoryContext context; /* the statement's */
	MemoryContext values;  /* of the row that was fetched last */
	uint64 storage;
	DocWriter writer;
	DocRow row;
	/* what is remembered: the first bytes in memory, those from `spilled` on in the file */
	char *memory;
	Size allocated;
	uint64 used;
	uint64 spilled;
	BufFile *file;
	/* the last row: a nested loop comes by it again and again, and without a sort it is the one asked for */
	bool any;
	uint64 number;
	MarkHead head;
	char id[DOCSTORE_MAX_ID];
};

DocMark *
doc_mark_new(EState *estate, ExecRowMark *erm, DocTable *table, const DocCollection *collection, List *columns)
{
	DocMark *mark = palloc0(sizeof(DocMark));

	mark->context = CurrentMemoryContext;
	mark->values = AllocSetContextCreate(CurrentMemoryContext, "docstore row mark", ALLOCSET_DEFAULT_SIZES);
	mark->storage = collection->storage;
	docstore_writer_init(&mark->writer, collection, estate->es_output_cid, estate->es_snapshot);
	doc_row_init(&mark->row, table, columns, false);
	erm->ermExtra = mark;
	return mark;
}

void
doc_mark_close(DocMark *mark)
{
	if (mark->file != NULL)
		BufFileClose(mark->file);
	mark->file = NULL;
}

/* ---- remembering ---- */

static void
append(DocMark *mark, const void *data, Size len)
{
	if (mark->file == NULL)
	{
		Size limit = (Size) work_mem * 1024;
		MemoryContext old;

		if (mark->used + len <= limit)
		{
			if (mark->used + len > mark->allocated)
			{
				Size size = Min(Max(mark->allocated * 2, 8192), Max(limit, 8192));

				mark->memory = mark->memory == NULL ? MemoryContextAllocHuge(mark->context, size)
													: repalloc_huge(mark->memory, size);
				mark->allocated = size;
			}
			memcpy(mark->memory + mark->used, data, len);
			mark->used += len;
			return;
		}
		old = MemoryContextSwitchTo(mark->context);
		PrepareTempTablespaces();
		mark->file = BufFileCreateTemp(false);
		MemoryContextSwitchTo(old);
		mark->spilled = mark->used;
	}
	BufFileWrite(mark->file, (void *) data, len);
	mark->used += len;
}

static void
read_file(DocMark *mark, uint64 at, void *data, Size len)
{
	if (BufFileSeek(mark->file, 0, (off_t) (at - mark->spilled), SEEK_SET) != 0 || BufFileRead(mark->file, data, len) != len)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a temporary file")));
}

static void
read_back(DocMark *mark, uint64 at, void *data, Size len)
{
	Size in_memory = 0;

	/* A row may lie astride. */
	if (mark->file == NULL)
		in_memory = len;
	else if (at < mark->spilled)
		in_memory = Min(len, mark->spilled - at);
	if (in_memory > 0)
		memcpy(data, mark->memory + at, in_memory);
	if (in_memory < len)
	{
		read_file(mark, at + in_memory, (char *) data + in_memory, len - in_memory);
		if (BufFileSeek(mark->file, 0, (off_t) (mark->used - mark->spilled), SEEK_SET) != 0)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not seek in a temporary file")));
	}
}

void
doc_mark_row(DocMark *mark, LsmSlice id, uint64 etag, TupleTableSlot *slot)
{
	uint16 len = (uint16) id.len;

	if (!mark->any || mark->head.etag != etag || mark->head.len != len || memcmp(mark->id, id.data, len) != 0)
	{
		mark->any = true;
		mark->number = mark->used;
		mark->head.etag = etag;
		mark->head.len = len;
		memcpy(mark->id, id.data, len);
		append(mark, &mark->head.etag, sizeof(mark->head.etag));
		append(mark, &mark->head.len, sizeof(mark->head.len));
		append(mark, mark->id, len);
	}
	document_tid_set(&slot->tts_tid, mark->number);
}

/* The row of a number. */
static void
recall(DocMark *mark, uint64 number, DocumentKey *key, uint64 *etag)
{
	if (!mark->any || number != mark->number)
	{
		mark->any = true;
		mark->number = number;
		read_back(mark, number, &mark->head.etag, sizeof(mark->head.etag));
		read_back(mark, number + sizeof(uint64), &mark->head.len, sizeof(mark->head.len));
		if (mark->head.len > DOCSTORE_MAX_ID)
			elog(ERROR, "there is no row of number %llu", (unsigned long long) number);
		read_back(mark, number + MARK_HEAD, mark->id, mark->head.len);
	}
	document_key_init(key, mark->storage, mark->id, mark->head.len);
	*etag = mark->head.etag;
}

/* ---- the executor's calls ---- */

RowMarkType
docstore_row_mark_type(RangeTblEntry *rte, LockClauseStrength strength)
{
	switch (strength)
	{
		case LCS_NONE:
			return ROW_MARK_REFERENCE;
		case LCS_FORKEYSHARE:
			return ROW_MARK_KEYSHARE;
		case LCS_FORSHARE:
			return ROW_MARK_SHARE;
		case LCS_FORNOKEYUPDATE:
			return ROW_MARK_NOKEYEXCLUSIVE;
		case LCS_FORUPDATE:
			break;
	}
	return ROW_MARK_EXCLUSIVE;
}

static LockTupleMode
lock_mode(RowMarkType type)
{
	switch (type)
	{
		case ROW_MARK_KEYSHARE:
			return LockTupleKeyShare;
		case ROW_MARK_SHARE:
			return LockTupleShare;
		case ROW_MARK_NOKEYEXCLUSIVE:
			return LockTupleNoKeyExclusive;
		default:
			return LockTupleExclusive;
	}
}

/* Fills the slot with what found holds. */
static void
show(DocMark *mark, const DocumentKey *key, uint64 etag, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(mark->values);

	doc_row_set(&mark->row, document_key_id(document_key_slice(key)), etag, lsm_buf_slice(&mark->writer.found));
	doc_row_store(&mark->row, slot);
	MemoryContextSwitchTo(old);
}

/*
 * Locks a row as its mark says, or just fetches it.  The slot stays empty if the
 * row is not to be had: deleted, locked (SKIP LOCKED), changed by this command
 * itself.
 */
void
docstore_refetch_row(EState *estate, ExecRowMark *erm, Datum rowid, TupleTableSlot *slot, bool *updated)
{
	DocMark *mark = erm->ermExtra;
	DocumentKey key;
	LsmVersion newer;
	uint64 etag;

	if (mark == NULL)
		elog(ERROR, "rows of foreign table \"%s\" have no numbers", RelationGetRelationName(erm->relation));
	ExecClearTuple(slot);
	MemoryContextReset(mark->values);
	recall(mark, document_tid_get((ItemPointer) DatumGetPointer(rowid)), &key, &etag);
	if (erm->markType != ROW_MARK_REFERENCE)
		switch (docstore_lock(&mark->writer, &key, etag, lock_mode(erm->markType), erm->waitPolicy, &newer))
		{
			case DOC_DONE:
				/* Nobody looks at the row unless another of the query's was updated. */
				if (list_length(estate->es_plannedstmt->rowMarks) == 1)
				{
					ExecStoreAllNullTuple(slot);
					return;
				}
				break;
			case DOC_NEWER:
				*updated = true;
				show(mark, &key, newer.seq, slot);
				return;
			default:
				return;
		}
	doc_read_version(&key, etag, &mark->writer.found);
	show(mark, &key, etag, slot);
}
