/*
 * extract.h - many paths of a document at once.
 *
 * The paths make a tree, so that steps they share are taken once.  An object's
 * keys are read once from the first on, as they are sorted, beside the wanted
 * names in the same order; only in an object that is much larger than what is
 * wanted of it each name is searched.  Documents of a collection have the same keys,
 * mostly: an object with the keys of the one before is not searched at all.
 *
 * A document is read where it lies, at any address.
 */
#ifndef DOCSTORE_EXTRACT_H
#define DOCSTORE_EXTRACT_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "fdw/path.h"

/* A value in a document. */
typedef struct DocValue
{
	uint32 type; /* JENTRY_ISSTRING, _ISNUMERIC, _ISBOOL_FALSE, _ISBOOL_TRUE, _ISNULL or _ISCONTAINER */
	uint32 len;
	const char *data; /* of a string its bytes, of a number the Numeric, of a container the JsonbContainer; at any address */
} DocValue;

typedef struct DocWants DocWants;

/* In the current context; borrows the paths' names.  NULL if there are no paths. */
extern DocWants *doc_wants_new(int npaths, DocPath *const *paths);
/* values[i] becomes what stands at path i, and borrows it from root, a JsonbContainer's bytes; null where there is nothing. */
extern void doc_wants_get(DocWants *wants, const char *root, DocValue *values);
/* The same value for PostgreSQL's functions, which want it aligned: borrowed, or copied into the current context. */
extern void doc_value_jsonb(const DocValue *value, JsonbValue *result);

#endif
