/*
 * mark.h - finding rows of a scan again, to lock them (SELECT ... FOR UPDATE and its like) or for EvalPlanQual.
 *
 * PostgreSQL carries nothing but a ctid through sorts and joins.  So a scan gives
 * each row that passes its conditions a number, which goes there, and remembers
 * its id and version: in memory up to work_mem, then in a temporary file.
 */
#ifndef DOCSTORE_MARK_H
#define DOCSTORE_MARK_H

#include "postgres.h"

#include "foreign/fdwapi.h"
#include "nodes/execnodes.h"

#include "engine/status.h"
#include "fdw/collection.h"

typedef struct DocMark DocMark;

/* Makes the executor's row mark of a relation find its rows here.  columns: attribute numbers that the plan uses. */
extern DocMark *doc_mark_new(EState *estate, ExecRowMark *erm, DocTable *table, const DocCollection *collection,
							 List *columns);
extern void doc_mark_close(DocMark *mark);
/* Numbers a row, in its slot's ctid. */
extern void doc_mark_row(DocMark *mark, LsmSlice id, uint64 etag, TupleTableSlot *slot);

extern RowMarkType docstore_row_mark_type(RangeTblEntry *rte, LockClauseStrength strength);
extern void docstore_refetch_row(EState *estate, ExecRowMark *erm, Datum rowid, TupleTableSlot *slot, bool *updated);

#endif
