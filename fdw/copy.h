/*
 * copy.h - rows of a COPY FROM, written in batches where PostgreSQL itself gives them one by one.
 */
#ifndef DOCSTORE_COPY_H
#define DOCSTORE_COPY_H

#include "postgres.h"

#include "nodes/execnodes.h"

#include "fdw/write.h"

typedef struct DocCopy DocCopy;

/*
 * If the row at hand comes from a COPY FROM whose rows nobody looks at before its
 * end: a batch for up to batch_size of them, in memory of `context`.  Else NULL.
 */
extern DocCopy *doc_copy_begin(ResultRelInfo *rri, int batch_size, MemoryContext context);
/* Takes a copy of key and document; writes the batch when it is full. */
extern void doc_copy_add(DocCopy *copy, DocWriter *writer, const DocumentKey *key, const Jsonb *doc);
/* Writes what is left. */
extern void doc_copy_flush(DocCopy *copy, DocWriter *writer);

#endif
