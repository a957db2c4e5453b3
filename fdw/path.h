/*
 * path.h - where in a document a typed column's value lies.
 *
 *     path      := step { "." name | subscript }
 *     step      := name | subscript
 *     name      := one or more of any characters but . [ ] " and white space
 *                | '"' any characters, "" for one quote '"'
 *     subscript := "[" digits "]"       counted from 0
 *
 * "totals.grand", "lines[0].sku", "\"a.b\".c", "[2]".
 */
#ifndef DOCSTORE_PATH_H
#define DOCSTORE_PATH_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct DocPathStep
{
	char *name; /* NULL: a subscript */
	int len;    /* of name, bytes */
	uint32 index;
} DocPathStep;

typedef struct DocPath
{
	int nsteps;
	DocPathStep *steps;
} DocPath;

/* Largest subscript: a write to it fills the gap, so it must stay sensible. */
#define DOC_PATH_MAX_INDEX 1000000

/* Allocates in the current context; throws with the position of the fault. */
extern DocPath *doc_path_parse(const char *text);
/* The path that is one name. */
extern DocPath *doc_path_of_name(const char *name);
/* As it may be written. */
extern char *doc_path_text(const DocPath *path);
/* Points *value into the document; false if there is nothing at the path. */
extern bool doc_path_get(const DocPath *path, JsonbContainer *root, JsonbValue *value);
/*
 * The document with `value` at the path.  Missing parents are made (an object
 * for a name, an array for a subscript; gaps in an array become null).  value
 * NULL removes the field; an array's element becomes null instead, so that the
 * others keep their places.  Throws if a parent is there but of another kind.
 */
extern Jsonb *doc_path_set(const DocPath *path, Jsonb *document, JsonbValue *value);

#endif
