/*
 * extract.h - many paths of a document at once.
 *
 * The paths make a tree, so that steps they share are taken once.  An object's
 * keys are read once from the first on, as they are sorted, beside the wanted
 * names in the same order; only in an object that is much larger than what is
 * wanted of it each name is searched.
 */
#ifndef DOCSTORE_EXTRACT_H
#define DOCSTORE_EXTRACT_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "fdw/path.h"

typedef struct DocWants DocWants;

/* In the current context; borrows the paths' names.  NULL if there are no paths. */
extern DocWants *doc_wants_new(int npaths, DocPath *const *paths);
/* values[i] becomes what stands at path i, and borrows it from root; jbvNull where there is nothing. */
extern void doc_wants_get(const DocWants *wants, JsonbContainer *root, JsonbValue *values);

#endif
