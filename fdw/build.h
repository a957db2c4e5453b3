/*
 * build.h - the document that an INSERT's or UPDATE's row stands for.
 *
 * The column doc, if the table has it and the statement gives it, is the
 * document; otherwise the stored one is, or for a new one {}.  Typed columns are
 * then written into it at their paths: in an INSERT those that are not null, in
 * an UPDATE those that were changed, where null takes the field away (of an
 * array's element it makes null).
 */
#ifndef DOCSTORE_BUILD_H
#define DOCSTORE_BUILD_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/bitmapset.h"

#include "fdw/option.h"

/*
 * Results are allocated in the current context or borrowed from the slot.  A row of a dump is as it was read: doc, if it
 * is there, is all of the document.
 */
extern Jsonb *doc_build_new(const DocTable *table, TupleTableSlot *slot, bool dumped);
/*
 * old is the stored document, or NULL if doc is given and no typed column is
 * changed.  changed holds attribute numbers.
 */
extern Jsonb *doc_build_changed(const DocTable *table, TupleTableSlot *slot, Jsonb *old, const Bitmapset *changed);

#endif
