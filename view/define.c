/*
 * define.c - makes and drops views as definitions are stored in and deleted from docstore.views.
 *
 * A trigger on that table does it, so it is part of the transaction that stores
 * the definition; functions like docstore.create_view only write rows.
 */
#include "postgres.h"

#include "view/define.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/owner.h"
#include "fdw/write.h"
#include "store/compat.h"
#include "store/store.h"
#include "view/catalog.h"
#include "view/map.h"
#include "view/pin.h"
#include "view/progress.h"
#include "view/replace.h"
#include "view/trial.h"

#define SCHEMA "docstore"

/* docstore.views */
#define VIEWS_NAME 1
#define VIEWS_DEFINITION 2
#define VIEWS_OWNER 3

static object_access_hook_type next_object_access_hook;

PG_FUNCTION_INFO_V1(docstore_view_trigger);

/* With the caller's rights, in the caller's current schema.  pg_dump has made it before the definition comes. */
static void
make_table(const View *view)
{
	if (docstore_foreign_tables_of("view", view->name) != NIL)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(view_table_statement(view, VIEW_SERVER), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not make the foreign table");
	SPI_finish();
}

static void
check_role(Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be member of role \"%s\"", GetUserNameFromId(owner, false)),
				 errdetail("A view belongs to that role, and its map runs with that role's rights.")));
}

static void
check_collections(const ViewDefinition *definition, Oid owner)
{
	ListCell *lc;

	foreach (lc, definition->collections)
	{
		DocCollection collection;

		docstore_collection_get(lfirst(lc), NoLock, &collection);
		if (!has_privs_of_role(owner, collection.owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for collection \"%s\"", collection.name),
					 errdetail("The view's owner is not a member of the role that owns the collection.")));
	}
}

static int
compare_strings(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* What a definition means, without a storage; throws unless the caller may have it for that owner. */
static View *
check(const char *name, const char *json, Oid owner)
{
	View *view = palloc0(sizeof(View));
	ForeignServer *server = GetForeignServerByName(VIEW_SERVER, false);
	ViewDefinition *definition;
	AclResult usage;
	ViewPin pin;

	docstore_require_preload();
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid view name \"%s\"", name),
				 errhint("A view's name has 1 to %d bytes.", NAMEDATALEN - 1)));
	usage = docstore_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);
	if (usage != ACLCHECK_OK)
		aclcheck_error(usage, OBJECT_FOREIGN_SERVER, server->servername);
	check_role(owner);
	definition = view_definition_parse(json);
	/* Whoever restores a dump says so by this setting: what things refer to may come later. */
	if (!check_function_bodies)
		docstore_collections_foretell(definition->collections, owner);
	check_collections(definition, owner);

	view_pin(&pin, owner);
	view->rows = view_check(definition);
	view->shape = view_check_reduce(definition, view->rows);
	view_unpin(&pin);
	strlcpy(view->name, name, NAMEDATALEN);
	view->owner = owner;
	view->map = definition->map;
	view->reduce = definition->reduce;
	view->block_rows = docstore_view_block_rows;
	view->finalize = definition->finalize;
	view->collections = definition->collections;
	list_sort(view->collections, compare_strings); /* as the consumer has them */
	/* What only shows when it runs, a function that the owner may not call say. */
	view_map_try(view);
	if (view->reduce != NULL)
		view_reduce_try(view, check_function_bodies); /* what is restored has been tried */
	return view;
}

static void
create(View *view)
{
	view_lock(view->name, AccessExclusiveLock);
	view_new_storage(view);
	view_catalog_insert(view);
	docstore_consumer_create(DOC_CONSUMER_VIEW, view->name, view->owner, view->collections);
	view_progress_create(view);
	make_table(view);
}

/* Not while replications read it. */
static void
refuse_read(const char *name)
{
	List *readers = docstore_consumers_of_view(name);
	const DocConsumer *reader = readers != NIL ? linitial(readers) : NULL;

	if (reader != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop view \"%s\" because other objects depend on it", name),
				 errdetail("The %s \"%s\" reads it.", docstore_consumer_kind_name(reader->kind), reader->name),
				 errhint("Drop it first with docstore.drop_replication().")));
}

static void
drop(const char *name)
{
	View *view = view_get(name, NoLock);
	View *replacement;
	ObjectAddresses *tables;

	check_role(view->owner);
	/* Tables before the view, as everybody locks them. */
	tables = docstore_lock_foreign_tables("view", name, view->owner, false);
	view = view_get(name, AccessExclusiveLock);
	check_role(view->owner);
	refuse_read(name);
	performMultipleDeletions(tables, DROP_RESTRICT, 0);
	view_drop_index(view);
	replacement = view_find_replacement(name, NoLock);
	if (replacement != NULL)
		view_drop_index(replacement);
	docstore_owners_changed();
}

static void
give(const char *name, Oid owner)
{
	View *view = view_get(name, AccessExclusiveLock);
	View *replacement = view_find_replacement(name, NoLock);

	docstore_owner_added(owner);
	view_catalog_set_owner(view, owner);
	docstore_consumer_set_owner(DOC_CONSUMER_VIEW, name, owner);
	if (replacement != NULL)
	{
		view_catalog_set_owner(replacement, owner);
		docstore_consumer_set_owner(DOC_CONSUMER_NEXT_VIEW, name, owner);
	}
	docstore_owners_changed();
}

/* AFTER INSERT OR UPDATE OR DELETE ON docstore.views FOR EACH ROW */
Datum
docstore_view_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	HeapTuple tuple;
	bool isnull;
	char *name;
	char *json;
	Oid owner;

	if (CALLED_AS_TRIGGER(fcinfo) && TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot truncate docstore.views"),
				 errhint("Use DELETE.")));
	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function can only be called as a trigger")));
	desc = RelationGetDescr(data->tg_relation);
	tuple = data->tg_trigtuple;
	name = TextDatumGetCString(heap_getattr(tuple, VIEWS_NAME, desc, &isnull));
	json = TextDatumGetCString(heap_getattr(tuple, VIEWS_DEFINITION, desc, &isnull));
	owner = DatumGetObjectId(heap_getattr(tuple, VIEWS_OWNER, desc, &isnull));
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		create(check(name, json, owner));
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		drop(name);
	else
	{
		HeapTuple new = data->tg_newtuple;
		Oid new_owner = DatumGetObjectId(heap_getattr(new, VIEWS_OWNER, desc, &isnull));
		char *new_json = TextDatumGetCString(heap_getattr(new, VIEWS_DEFINITION, desc, &isnull));

		check_role(owner);
		if (strcmp(name, TextDatumGetCString(heap_getattr(new, VIEWS_NAME, desc, &isnull))) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a view cannot be renamed"),
					 errhint("Drop view \"%s\" and create it again.", name)));
		if (new_owner != owner)
		{
			check_role(new_owner);
			give(name, new_owner);
		}
		if (strcmp(json, new_json) != 0)
			view_replace(check(name, new_json, new_owner));
	}
	return PointerGetDatum(NULL);
}

/* For consumers of views. */
static uint64
storage_of(const char *name, LOCKMODE mode)
{
	const View *view = view_find(name, mode);

	return view != NULL ? view->results : 0;
}

/* ---- DROP EXTENSION ---- */

/* The catalog goes away with all its rows: their storages are dropped with it, in the same transaction. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_object_access_hook)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0)
	{
		Oid schema = get_namespace_oid(SCHEMA, true);

		if (OidIsValid(schema) && object_id == get_relname_relid("view_index", schema) &&
			OidIsValid(getExtensionOfObject(class_id, object_id)) &&
			getExtensionOfObject(class_id, object_id) == get_extension_oid("docstore", true))
		{
			ListCell *lc;

			view_catalog_touch();
			foreach (lc, view_list())
			{
				View *view = lfirst(lc);

				view_lock(view->name, AccessExclusiveLock);
				view_drop_storage(view);
			}
		}
	}
}

void
view_define_init(void)
{
	docstore_consumer_set_view_storage(storage_of);
	next_object_access_hook = object_access_hook;
	object_access_hook = object_access;
}
