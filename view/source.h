/*
 * source.h - a piece of a view's SQL while it is checked: parsing, positions of faults, what no view may do.
 */
#ifndef DOCSTORE_VIEW_SOURCE_H
#define DOCSTORE_VIEW_SOURCE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "nodes/parsenodes.h"

#include "view/check.h"

typedef struct ViewSource
{
	const char *text;
	const char *what;  /* map, key, reduce, finalize; select */
	const char *reads; /* for messages: what it sees */
	int skip;          /* bytes put in front of it */
	const RawStmt *raw;
	int location;         /* of what leads to an expression that does not stand in the text; -1: none */
	const char *of;       /* what it is part of; NULL: a view */
	const char *reserved; /* no column may be called so; NULL: "id", in a map */
} ViewSource;

/* An ErrorContextCallback's function: an error's position is one in the view's SQL. */
extern void view_source_point(void *source);
/* For ereport: a fault's position. */
extern int view_source_at(const ViewSource *source, int location);
/* The one SELECT in the text. */
extern RawStmt *view_source_parse(ViewSource *source);
/* Analyzes it, with one relation of that name to read. */
extern Query *view_source_analyze(const ViewSource *source, RawStmt *raw, const char *relation, TupleDesc desc);
/* Throws if it reads other relations, changes anything, or uses functions that depend on more than their arguments. */
extern void view_source_check(ViewSource *source, Query *query);
/* What it returns. */
extern void view_source_columns(const ViewSource *source, Query *query, ViewShape *shape);
/* The clause `key` (may be NULL) over the shape's columns. */
extern void view_source_key(const char *key, const char *of, ViewShape *shape);

#endif
