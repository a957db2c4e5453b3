/*
 * catalog.c - the catalog of views (catalog.h).
 *
 * As for collections: a backend keeps what it has read until the catalog
 * changes; whoever takes a view's lock first absorbs the invalidations, so it
 * sees what the last holder of a conflicting lock committed.
 *
 * The catalog is written past its grants; what the caller may do is checked first (define.c).
 */
#include "postgres.h"

#include "view/catalog.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "fdw/collection.h"
#include "store/workers.h"

#define SCHEMA "docstore"

/* docstore.view_index */
#define ATT_VIEW 1
#define ATT_STORAGE 2
#define ATT_OWNER 3
#define ATT_MAP 4
#define ATT_COLLECTIONS 5
#define ATT_SHAPE 6
#define ATT_REPLACING 7
#define ATT_REDUCE 8
#define ATT_FINALIZE 9
#define ATT_ROWS 10
#define ATT_BLOCK_ROWS 11
#define ATT_PAUSED 12
#define ATT_RESULTS 13
#define NATTS 13

typedef struct Known
{
	char name[NAMEDATALEN];
	View *view;
} Known;

static Oid catalog_oid;
static Oid index_oid;
static HTAB *known;
static MemoryContext known_context;
static MemoryContext outdated; /* what was known before, until nobody reads it any more */
static uint64 generation;
static bool registered;
static bool changed_in_xact;

/* ---- cache ---- */

static void
invalidate(Datum arg, Oid relid)
{
	if (OidIsValid(relid) && relid != catalog_oid)
		return;
	generation++;
	catalog_oid = InvalidOid;
	known = NULL;
	if (known_context != NULL && outdated != NULL && IsTransactionState())
		MemoryContextSetParent(known_context, outdated);
	else if (known_context != NULL)
		MemoryContextDelete(known_context);
	known_context = NULL;
}

static void
free_outdated(XactEvent event, void *arg)
{
	if (outdated != NULL && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE))
		MemoryContextReset(outdated);
}

uint64
view_generation(void)
{
	return generation;
}

/* InvalidOid if the extension is not installed. */
static Oid
find_catalog(void)
{
	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		outdated = AllocSetContextCreate(CacheMemoryContext, "docstore views before", ALLOCSET_SMALL_SIZES);
		RegisterXactCallback(free_outdated, NULL);
		registered = true;
	}
	if (!OidIsValid(catalog_oid))
	{
		Oid schema = get_namespace_oid(SCHEMA, true);

		if (!OidIsValid(schema))
			return InvalidOid;
		index_oid = get_relname_relid("view_index_pkey", schema);
		catalog_oid = get_relname_relid("view_index", schema);
	}
	return catalog_oid;
}

static Oid
catalog_table(void)
{
	if (!OidIsValid(find_catalog()))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"docstore\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION docstore.")));
	return catalog_oid;
}

void
view_lock(const char *name, LOCKMODE mode)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, catalog_table(), hash_bytes((const unsigned char *) name, (int) strlen(name)), 0);
	if (LockAcquire(&tag, mode, false, false) != LOCKACQUIRE_ALREADY_HELD)
		AcceptInvalidationMessages();
}

/* ---- rows ---- */

/* Columns and key as PostgreSQL prints its lists: names, types, typmods, collations; attributes, flags. */
static char *
print_shape(const ViewShape *shape)
{
	List *names = NIL;
	List *types = NIL;
	List *typmods = NIL;
	List *collations = NIL;
	List *attributes = NIL;
	List *flags = NIL;

	for (int i = 0; i < shape->ncolumns; i++)
	{
		names = lappend(names, makeString(shape->columns[i].name));
		types = lappend_oid(types, shape->columns[i].type);
		typmods = lappend_int(typmods, shape->columns[i].typmod);
		collations = lappend_oid(collations, shape->columns[i].collation);
	}
	for (int i = 0; i <= shape->nkeys; i++)
	{
		attributes = lappend_int(attributes, shape->key_attribute[i]);
		flags = lappend_int(flags, (shape->key[i].descending ? 1 : 0) | (shape->key[i].nulls_first ? 2 : 0));
	}
	return nodeToString(lappend(list_make5(names, types, typmods, collations, attributes), flags));
}

bool
view_same_shape(const ViewShape *a, const ViewShape *b)
{
	return strcmp(print_shape(a), print_shape(b)) == 0;
}

/* A domain may be gone: whoever computes with it finds that out, not everybody who looks through the views. */
static Oid
base_type(Oid type)
{
	return get_typtype(type) == TYPTYPE_DOMAIN ? getBaseType(type) : type;
}

static ViewShape *
read_shape(char *text)
{
	List *lists = stringToNode(text);
	List *names = list_nth(lists, 0);
	List *attributes = list_nth(lists, 4);
	ViewShape *shape = palloc0(sizeof(ViewShape));

	shape->ncolumns = list_length(names);
	shape->columns = palloc0((shape->ncolumns + 1) * sizeof(ViewColumn));
	for (int i = 0; i < shape->ncolumns; i++)
	{
		shape->columns[i].name = strVal(list_nth(names, i));
		shape->columns[i].type = list_nth_oid(list_nth(lists, 1), i);
		shape->columns[i].typmod = list_nth_int(list_nth(lists, 2), i);
		shape->columns[i].collation = list_nth_oid(list_nth(lists, 3), i);
	}
	shape->nkeys = list_length(attributes) - 1;
	shape->key = palloc0((shape->nkeys + 1) * sizeof(ViewKeyColumn));
	shape->key_attribute = palloc0((shape->nkeys + 1) * sizeof(AttrNumber));
	for (int i = 0; i <= shape->nkeys; i++)
	{
		int attribute = list_nth_int(attributes, i);
		int flags = list_nth_int(list_nth(lists, 5), i);

		shape->key_attribute[i] = (AttrNumber) attribute;
		shape->key[i].type = i < shape->nkeys ? base_type(shape->columns[attribute - 1].type) : TEXTOID;
		shape->key[i].descending = (flags & 1) != 0;
		shape->key[i].nulls_first = (flags & 2) != 0;
	}
	return shape;
}

static char *
read_text(HeapTuple tuple, int attribute, TupleDesc desc)
{
	bool isnull;
	Datum datum = heap_getattr(tuple, attribute, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(datum);
}

static View *
read_tuple(Relation catalog, HeapTuple tuple)
{
	TupleDesc desc = RelationGetDescr(catalog);
	View *view = palloc0(sizeof(View));
	ArrayType *array;
	Datum *elements;
	char *rows;
	int n;
	bool isnull;

	text_to_cstring_buffer(DatumGetTextPP(heap_getattr(tuple, ATT_VIEW, desc, &isnull)), view->name, NAMEDATALEN);
	view->storage = (uint64) DatumGetInt64(heap_getattr(tuple, ATT_STORAGE, desc, &isnull));
	view->results = (uint64) DatumGetInt64(heap_getattr(tuple, ATT_RESULTS, desc, &isnull));
	view->owner = DatumGetObjectId(heap_getattr(tuple, ATT_OWNER, desc, &isnull));
	view->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	view->map = TextDatumGetCString(heap_getattr(tuple, ATT_MAP, desc, &isnull));
	array = DatumGetArrayTypeP(heap_getattr(tuple, ATT_COLLECTIONS, desc, &isnull));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		view->collections = lappend(view->collections, TextDatumGetCString(elements[i]));
	view->shape = read_shape(TextDatumGetCString(heap_getattr(tuple, ATT_SHAPE, desc, &isnull)));
	view->replacing = DatumGetBool(heap_getattr(tuple, ATT_REPLACING, desc, &isnull));
	view->reduce = read_text(tuple, ATT_REDUCE, desc);
	view->finalize = read_text(tuple, ATT_FINALIZE, desc);
	rows = read_text(tuple, ATT_ROWS, desc);
	view->paused = DatumGetBool(heap_getattr(tuple, ATT_PAUSED, desc, &isnull));
	view->block_rows = DatumGetInt32(heap_getattr(tuple, ATT_BLOCK_ROWS, desc, &isnull));
	view->rows = rows != NULL ? read_shape(rows) : view->shape;
	return view;
}

static ViewShape *
copy_shape(const ViewShape *original)
{
	ViewShape *shape = palloc(sizeof(ViewShape));

	*shape = *original;
	shape->columns = palloc((shape->ncolumns + 1) * sizeof(ViewColumn));
	for (int i = 0; i < shape->ncolumns; i++)
	{
		shape->columns[i] = original->columns[i];
		shape->columns[i].name = pstrdup(shape->columns[i].name);
	}
	shape->key = palloc((shape->nkeys + 1) * sizeof(ViewKeyColumn));
	memcpy(shape->key, original->key, (shape->nkeys + 1) * sizeof(ViewKeyColumn));
	shape->key_attribute = palloc((shape->nkeys + 1) * sizeof(AttrNumber));
	memcpy(shape->key_attribute, original->key_attribute, (shape->nkeys + 1) * sizeof(AttrNumber));
	return shape;
}

View *
view_copy(const View *view)
{
	View *copy = palloc(sizeof(View));
	ListCell *lc;

	*copy = *view;
	copy->map = pstrdup(view->map);
	copy->reduce = view->reduce != NULL ? pstrdup(view->reduce) : NULL;
	copy->finalize = view->finalize != NULL ? pstrdup(view->finalize) : NULL;
	copy->collections = NIL;
	foreach (lc, view->collections)
		copy->collections = lappend(copy->collections, pstrdup(lfirst(lc)));
	copy->shape = copy_shape(view->shape);
	copy->rows = view->rows == view->shape ? copy->shape : copy_shape(view->rows);
	return copy;
}

/* The catalog's row (a copy, complete: its caller may have no snapshot with which to fetch the rest), or NULL. */
static HeapTuple
find_tuple(Relation catalog, const char *name, bool replacing)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key[0], ATT_VIEW, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	ScanKeyInit(&key[1], ATT_REPLACING, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(replacing));
	scan = systable_beginscan(catalog, index_oid, true, NULL, 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = HeapTupleHasExternal(tuple) ? toast_flatten_tuple(tuple, RelationGetDescr(catalog)) : heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static View *
remember(const View *view)
{
	MemoryContext old;
	Known *entry;
	bool found;

	if (known == NULL)
	{
		HASHCTL ctl = {0};

		known_context = AllocSetContextCreate(CacheMemoryContext, "docstore views", ALLOCSET_SMALL_SIZES);
		ctl.keysize = NAMEDATALEN;
		ctl.entrysize = sizeof(Known);
		ctl.hcxt = known_context;
		known = hash_create("docstore views", 32, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	old = MemoryContextSwitchTo(known_context);
	entry = hash_search(known, view->name, HASH_ENTER, &found);
	entry->view = view_copy(view);
	MemoryContextSwitchTo(old);
	return entry->view;
}

/* As view_find, but what is remembered itself. */
static View *
find(const char *name, LOCKMODE mode)
{
	Relation catalog;
	HeapTuple tuple;
	View *view = NULL;
	uint64 before;
	Known *entry;

	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	if (mode != NoLock)
		view_lock(name, mode);
	(void) catalog_table();
	if (known != NULL && (entry = hash_search(known, name, HASH_FIND, NULL)) != NULL && entry->view != NULL)
		return entry->view;

	catalog = docstore_catalog_open(catalog_table(), NATTS, AccessShareLock);
	before = generation;
	tuple = find_tuple(catalog, name, false);
	if (tuple != NULL)
		view = read_tuple(catalog, tuple);
	table_close(catalog, AccessShareLock);
	return view != NULL && generation == before ? remember(view) : view;
}

View *
view_find(const char *name, LOCKMODE mode)
{
	View *view = find(name, mode);

	return view != NULL ? view_copy(view) : NULL;
}

View *
view_find_replacement(const char *name, LOCKMODE mode)
{
	Relation catalog;
	HeapTuple tuple;
	View *view;

	if (mode != NoLock)
		view_lock(name, mode);
	catalog = docstore_catalog_open(catalog_table(), NATTS, AccessShareLock);
	tuple = find_tuple(catalog, name, true);
	view = tuple != NULL ? read_tuple(catalog, tuple) : NULL;
	table_close(catalog, AccessShareLock);
	return view;
}

static View *
get(const char *name, LOCKMODE mode)
{
	View *view = find(name, mode);

	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("docstore view \"%s\" does not exist", name),
				 errhint("See docstore.views, or make it with docstore.create_view.")));
	return view;
}

View *
view_get(const char *name, LOCKMODE mode)
{
	return view_copy(get(name, mode));
}

View *
view_get_for(const char *name, LOCKMODE mode, const char *table, Oid table_owner)
{
	/* Rights first, then the lock: as for collections. */
	View *view = get(name, NoLock);

	for (;;)
	{
		uint64 storage = view->storage;

		if (table_owner != view->owner && !has_privs_of_role(table_owner, view->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for docstore view \"%s\"", name),
					 errdetail("The owner of foreign table \"%s\", role \"%s\", is not a member of the role that owns the view.",
							   table, GetUserNameFromId(table_owner, true))));
		if (mode == NoLock)
			return view;
		view = get(name, mode);
		if (view->storage == storage)
			return view;
		mode = NoLock; /* another of that name; it is locked now */
	}
}

static int
by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((View *) lfirst(a))->name, ((View *) lfirst(b))->name);
}

/* Without the index: while the extension is dropped that is gone already. */
List *
view_list(void)
{
	Relation catalog;
	SysScanDesc scan;
	List *views = NIL;
	HeapTuple tuple;

	if (!OidIsValid(find_catalog()))
		return NIL;
	catalog = docstore_catalog_open(catalog_oid, NATTS, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		views = lappend(views, read_tuple(catalog, tuple));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	list_sort(views, by_name);
	return views;
}

/* ---- the foreign table ---- */

void
view_column_text(StringInfo text, const ViewColumn *column)
{
	appendStringInfo(text, "%s %s", quote_identifier(column->name),
					 format_type_extended(column->type, column->typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (column->collation == C_COLLATION_OID)
		appendStringInfoString(text, " COLLATE pg_catalog.\"C\"");
	else if (OidIsValid(column->collation) && column->collation != DEFAULT_COLLATION_OID)
		appendStringInfo(text, " COLLATE %s", generate_collation_name(column->collation));
}

char *
view_table_statement(const View *view, const char *server)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "CREATE FOREIGN TABLE %s (", quote_identifier(view->name));
	for (int i = 0; i < view->shape->ncolumns; i++)
	{
		view_column_text(&text, &view->shape->columns[i]);
		appendStringInfoString(&text, ", ");
	}
	if (view->reduce == NULL)
		appendStringInfoString(&text, VIEW_ID_COLUMN);
	else
		text.len -= (int) strlen(", ");
	appendStringInfo(&text, ") SERVER %s OPTIONS (view %s)",
					 quote_identifier(server), quote_literal_cstr(view->name));
	return text.data;
}

/* ---- changing ---- */

static void
on_commit(XactEvent event, void *arg)
{
	if (changed_in_xact && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE))
		docstore_want_worker(DOCSTORE_INDEXER, MyDatabaseId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		changed_in_xact = false;
}

/* After commit the indexer shall look. */
void
view_catalog_touch(void)
{
	static bool installed = false;

	if (!installed)
		RegisterXactCallback(on_commit, NULL);
	installed = true;
	changed_in_xact = true;
}

/* Every backend forgets what it knew. */
static void
changed(void)
{
	view_catalog_touch();
	CacheInvalidateRelcacheByRelid(catalog_table());
	CommandCounterIncrement();
}

void
view_catalog_insert(const View *view)
{
	Datum values[NATTS];
	bool nulls[NATTS] = {false};
	Datum *elements;
	Relation catalog;
	ListCell *lc;

	elements = palloc(list_length(view->collections) * sizeof(Datum));
	foreach (lc, view->collections)
		elements[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	values[ATT_VIEW - 1] = CStringGetTextDatum(view->name);
	values[ATT_STORAGE - 1] = Int64GetDatum((int64) view->storage);
	values[ATT_RESULTS - 1] = Int64GetDatum((int64) view->results);
	values[ATT_OWNER - 1] = ObjectIdGetDatum(view->owner);
	values[ATT_MAP - 1] = CStringGetTextDatum(view->map);
	values[ATT_COLLECTIONS - 1] = PointerGetDatum(construct_array(elements, list_length(view->collections), TEXTOID, -1, false, TYPALIGN_INT));
	values[ATT_SHAPE - 1] = CStringGetTextDatum(print_shape(view->shape));
	values[ATT_REPLACING - 1] = BoolGetDatum(view->replacing);
	values[ATT_PAUSED - 1] = BoolGetDatum(view->paused);
	values[ATT_BLOCK_ROWS - 1] = Int32GetDatum(view->block_rows);
	nulls[ATT_REDUCE - 1] = view->reduce == NULL;
	if (view->reduce != NULL)
		values[ATT_REDUCE - 1] = CStringGetTextDatum(view->reduce);
	nulls[ATT_FINALIZE - 1] = view->finalize == NULL;
	if (view->finalize != NULL)
		values[ATT_FINALIZE - 1] = CStringGetTextDatum(view->finalize);
	nulls[ATT_ROWS - 1] = view->reduce == NULL;
	if (view->reduce != NULL)
		values[ATT_ROWS - 1] = CStringGetTextDatum(print_shape(view->rows));
	catalog = docstore_catalog_open(catalog_table(), NATTS, RowExclusiveLock);
	CatalogTupleInsert(catalog, heap_form_tuple(RelationGetDescr(catalog), values, nulls));
	table_close(catalog, NoLock);
	changed();
}

static void
set_column(const View *view, int column, Datum value)
{
	Relation catalog = docstore_catalog_open(catalog_table(), NATTS, RowExclusiveLock);
	HeapTuple tuple = find_tuple(catalog, view->name, view->replacing);
	bool isnull = false;

	if (tuple == NULL)
		elog(ERROR, "docstore view \"%s\" is gone", view->name);
	tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(catalog), 1, &column, &value, &isnull);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, NoLock);
	changed();
}

void
view_catalog_set_owner(const View *view, Oid owner)
{
	set_column(view, ATT_OWNER, ObjectIdGetDatum(owner));
}

void
view_catalog_update(const View *view, const View *after)
{
	View row = *after;

	row.storage = view->storage;
	row.owner = view->owner;
	row.paused = view->paused;
	row.replacing = view->replacing;
	view_catalog_delete(view);
	view_catalog_insert(&row);
}

void
view_catalog_set_paused(const View *view, bool paused)
{
	set_column(view, ATT_PAUSED, BoolGetDatum(paused));
}

void
view_catalog_take_place(const View *replacement)
{
	set_column(replacement, ATT_REPLACING, BoolGetDatum(false));
}

void
view_catalog_delete(const View *view)
{
	Relation catalog = docstore_catalog_open(catalog_table(), NATTS, RowExclusiveLock);
	HeapTuple tuple = find_tuple(catalog, view->name, view->replacing);

	if (tuple == NULL)
		elog(ERROR, "docstore view \"%s\" is gone", view->name);
	CatalogTupleDelete(catalog, &tuple->t_self);
	table_close(catalog, NoLock);
	changed();
}
