/*
 * option.h - what a foreign table of ours is: its options, checked, and its columns' parts in a document.
 */
#ifndef DOCSTORE_OPTION_H
#define DOCSTORE_OPTION_H

#include "postgres.h"

#include "access/attnum.h"
#include "utils/relcache.h"

#include "fdw/convert.h"
#include "fdw/path.h"

typedef enum DocRole
{
	DOC_ROLE_NONE, /* dropped column */
	DOC_ROLE_ID,
	DOC_ROLE_DOC,
	DOC_ROLE_ETAG,
	DOC_ROLE_MODIFIED,
	DOC_ROLE_FIELD /* a typed column */
} DocRole;

typedef struct DocColumn
{
	DocRole role;
	char *name;
	bool notnull;
	DocPath *path;      /* fields only */
	DocConvert convert; /* fields, and doc of type json */
} DocColumn;

/* Kept per backend until the table's definition changes. */
typedef struct DocTable
{
	Oid relid;
	Oid owner;
	char *name;
	char *collection;
	/* Attribute numbers, 0 where the table has no such column. */
	AttrNumber id;
	AttrNumber doc;
	AttrNumber etag;
	AttrNumber modified;
	Oid id_type;
	int32 id_typmod;
	Oid id_collation;
	bool doc_is_json; /* json, not jsonb */
	bool constrained; /* has constraints that this wrapper must check (all but NOT NULL on id) */
	int batch_size;   /* rows that an INSERT writes together */
	bool lenient;     /* on_mismatch 'null': values that do not fit their column read as NULL */
	int nfields;
	int natts;
	DocColumn *columns; /* natts */
	/* private */
	MemoryContext context;
	int users;
	bool stale;
} DocTable;

/*
 * The description of a table, valid until the current memory context is reset
 * or deleted.  Throws if a column has a type that its role does not allow.
 */
extern DocTable *doc_table_get(Relation relation);
/* true: it is a collection's table, of which there is a description.  false: not known. */
extern bool doc_table_known(Oid relid);

#endif
