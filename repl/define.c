/*
 * define.c - makes, changes and drops replications as definitions are stored in and deleted from docstore.replications.
 *
 * A trigger on that table does it, so it is part of the transaction that stores
 * the definition; functions like docstore.create_replication only write rows.
 */
#include "postgres.h"

#include "repl/define.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/owner.h"
#include "repl/apply.h"
#include "repl/state.h"
#include "repl/view_row.h"
#include "store/compat.h"
#include "store/store.h"
#include "store/workers.h"
#include "view/pin.h"

#define SERVER "docstore"

/* docstore.replications */
#define ATT_NAME 1
#define ATT_DEFINITION 2
#define ATT_OWNER 3

PG_FUNCTION_INFO_V1(docstore_replication_trigger);
PG_FUNCTION_INFO_V1(docstore_replace_replication);
PG_FUNCTION_INFO_V1(docstore_drop_replication);
PG_FUNCTION_INFO_V1(docstore_pause_replication);
PG_FUNCTION_INFO_V1(docstore_reset_replication);
PG_FUNCTION_INFO_V1(docstore_retry_replication);

/* ---- after commit ---- */

static bool changed_in_xact;

static void
on_commit(XactEvent event, void *arg)
{
	if (changed_in_xact && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE))
		docstore_want_worker(DOCSTORE_REPLICATOR, MyDatabaseId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		changed_in_xact = false;
}

/* ---- checks ---- */

static void
check_role(Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be member of role \"%s\"", GetUserNameFromId(owner, false)),
				 errdetail("A replication belongs to that role, and runs with that role's rights.")));
}

static void
check_collections(const ReplDefinition *definition, Oid owner)
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
					 errdetail("The replication's owner is not a member of the role that owns the collection.")));
	}
}

/* InvalidOid: there is none.  Who asks need not have rights to its schema: it may be another role's. */
static Oid
find_table(const char *written)
{
	char *schema;
	char *table;
	Oid namespace;

	DeconstructQualifiedName(docstore_qualified_name(written), &schema, &table);
	namespace = schema != NULL ? get_namespace_oid(schema, true) : InvalidOid;
	return OidIsValid(namespace) ? get_relname_relid(table, namespace) : InvalidOid;
}

/* Each table belongs to one replication: else one would take another's rows away. */
static void
check_tables(const char *name, const ReplApply *apply)
{
	List *tables = repl_apply_tables(apply);
	ListCell *lc;

	LockDatabaseObject(RelationRelationId, docstore_extension_relation("replications"), 1, ExclusiveLock);
	foreach (lc, repl_state_names())
	{
		const char *other = lfirst(lc);
		ReplState state;
		ListCell *table;

		if (strcmp(other, name) == 0 || !repl_state_read(other, &state))
			continue;
		foreach (table, repl_definition_parse(state.definition)->tables)
		{
			const char *written = ((ReplTable *) lfirst(table))->table;
			Oid relid = find_table(written);

			if (OidIsValid(relid) && list_member_oid(tables, relid))
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_OBJECT),
						 errmsg("table %s is written by replication \"%s\"", written, other)));
		}
	}
}

/* What can be said against it now.  Whoever restores a dump says so by a setting: what things refer to may come later. */
static ReplDefinition *
check(const char *name, const char *json, Oid owner)
{
	ReplDefinition *definition = repl_definition_parse(json);
	ReplApply *apply;

	check_role(owner);
	if (!check_function_bodies)
	{
		if (definition->view == NULL)
			docstore_collections_foretell(definition->collections, owner);
		return definition;
	}
	if (definition->view != NULL)
		(void) repl_view_open(definition->view, owner);
	else
		check_collections(definition, owner);
	apply = repl_apply_new(json, owner);
	repl_apply_check(apply);
	check_tables(name, apply);
	repl_apply_free(apply);
	return definition;
}

/* ---- the trigger ---- */

static void
create(const char *name, const char *json, Oid owner)
{
	ForeignServer *server = GetForeignServerByName(SERVER, false);
	AclResult usage = docstore_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);
	ReplDefinition *definition;

	docstore_require_preload();
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid replication name \"%s\"", name),
				 errhint("A replication's name has 1 to %d bytes.", NAMEDATALEN - 1)));
	if (usage != ACLCHECK_OK)
		aclcheck_error(usage, OBJECT_FOREIGN_SERVER, server->servername);
	definition = check(name, json, owner);
	if (definition->view != NULL)
		docstore_consumer_create_of_view(DOC_CONSUMER_REPLICATION, name, owner, definition->view);
	else
		docstore_consumer_create(DOC_CONSUMER_REPLICATION, name, owner, definition->collections);
	/* The rows may be in the dump, too. */
	repl_state_create(name, !check_function_bodies, definition->collections,
					  docstore_consumer_get(DOC_CONSUMER_REPLICATION, name, false)->position);
	/* Rows of a view that is built again may have other ids: those that are there would not be found. */
	if (definition->view != NULL && !check_function_bodies)
		repl_state_reset(name, true, definition->collections, docstore_consumer_get(DOC_CONSUMER_REPLICATION, name, false)->position);
}

/* Those of a that are not in b. */
static List *
without(List *a, List *b)
{
	List *names = NIL;
	ListCell *lc;

	foreach (lc, a)
		if (!docstore_name_in(b, lfirst(lc)))
			names = lappend(names, lfirst(lc));
	return names;
}

/* Rows of collections that leave are deleted, but for those of tables that rows are only inserted into. */
static void
empty_removed(const char *name, const char *json, Oid owner, List *removed, const ReplState *state)
{
	ReplApply *apply = repl_apply_new(json, owner);
	int n = list_length(repl_apply_tables(apply));
	ReplCounts counts = {palloc0(n * sizeof(int64)), palloc0(n * sizeof(int64))};
	ListCell *lc;

	foreach (lc, removed)
	{
		ErrorData *fault = repl_apply_empty(apply, lfirst(lc), false, &counts);

		if (fault != NULL)
			ReThrowError(fault);
		repl_errors_forget(name, lfirst(lc));
	}
	repl_state_write(name, state, repl_apply_names(apply), &counts);
	repl_apply_free(apply);
}

/* Rows that do not say whose they are would not be found again among those of others. */
static void
check_nameless(const char *name, const char *old_json, List *stay)
{
	ListCell *lc;

	foreach (lc, repl_definition_parse(old_json)->tables)
		if (stay != NIL && ((ReplTable *) lfirst(lc))->collection == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot add collections to replication \"%s\"", name),
					 errdetail("Rows of table %s do not say of which collection they are.", ((ReplTable *) lfirst(lc))->table),
					 errhint("Drop it with its rows, and create it again with a column for the collection's name.")));
}

static void
check_source(const DocConsumer *consumer, const ReplDefinition *definition)
{
	if (consumer->of_view != (definition->view != NULL) ||
		(consumer->of_view && strcmp(linitial(consumer->collections), definition->view) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change what replication \"%s\" reads", consumer->name),
				 errdetail("A replication stays with its collections, or with its view."),
				 errhint("Drop it with its rows, and create it again.")));
}

static void
set_collections(DocConsumer *consumer, const char *old_json, List *collections)
{
	List *added = without(collections, consumer->collections);
	List *removed = without(consumer->collections, collections);
	ReplState state;
	bool found = repl_state_read(consumer->name, &state);
	List *to_scan;
	uint64 last;

	if (!found)
		elog(ERROR, "replication \"%s\" has no state", consumer->name);
	if (added == NIL && removed == NIL)
		return;
	/* What is left of a scan ends at another etag than theirs. */
	if (added != NIL && state.to_scan != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot add collections to replication \"%s\" while it is starting", consumer->name),
				 errhint("Wait until its state in docstore.replication_status is \"following\".")));
	if (added != NIL)
		check_nameless(consumer->name, old_json, without(consumer->collections, removed));
	last = docstore_consumer_set_collections(consumer, collections);
	to_scan = without(state.to_scan, removed);
	if (list_length(to_scan) != list_length(state.to_scan))
		state.next_id = NULL;
	state.to_scan = list_concat(to_scan, added);
	if (added != NIL)
		state.scan_to = last;
	if (removed != NIL)
		empty_removed(consumer->name, old_json, consumer->owner, removed, &state);
	else
		repl_state_write(consumer->name, &state, NIL, NULL);
}

static void
replace(const char *name, const char *old_json, const char *json, Oid owner)
{
	DocConsumer *consumer = docstore_consumer_get(DOC_CONSUMER_REPLICATION, name, true);

	if (consumer == NULL)
		elog(ERROR, "replication \"%s\" is not registered as a consumer", name);
	/* Another owner's rights are looked at when it runs: REASSIGN OWNED gives the collections later. */
	if (strcmp(json, old_json) == 0)
		check_role(owner);
	else
	{
		ReplDefinition *definition = check(name, json, owner);

		check_source(consumer, definition);
		if (!consumer->of_view)
			set_collections(consumer, old_json, definition->collections);
	}
	if (owner != consumer->owner)
	{
		docstore_owner_added(owner);
		docstore_consumer_set_owner(DOC_CONSUMER_REPLICATION, name, owner);
		docstore_owners_changed();
	}
	repl_state_fail(name, NULL, NULL);
}

static void
drop(const char *name, Oid owner)
{
	check_role(owner);
	(void) docstore_consumer_get(DOC_CONSUMER_REPLICATION, name, true);
	(void) docstore_consumer_drop(DOC_CONSUMER_REPLICATION, name);
	docstore_owners_changed();
	repl_state_drop(name);
}

/* AFTER INSERT OR UPDATE OR DELETE ON docstore.replications FOR EACH ROW */
Datum
docstore_replication_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	HeapTuple tuple;
	bool isnull;
	char *name;
	char *json;
	char *old_json;
	Oid owner;

	if (CALLED_AS_TRIGGER(fcinfo) && TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot truncate docstore.replications"),
				 errhint("Use DELETE.")));
	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function can only be called as a trigger")));
	changed_in_xact = true;
	desc = RelationGetDescr(data->tg_relation);
	tuple = data->tg_trigtuple;
	name = TextDatumGetCString(heap_getattr(tuple, ATT_NAME, desc, &isnull));
	owner = DatumGetObjectId(heap_getattr(tuple, ATT_OWNER, desc, &isnull));
	if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
	{
		drop(name, owner);
		return PointerGetDatum(NULL);
	}
	old_json = TextDatumGetCString(heap_getattr(tuple, ATT_DEFINITION, desc, &isnull));
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		check_role(owner);
		tuple = data->tg_newtuple;
		owner = DatumGetObjectId(heap_getattr(tuple, ATT_OWNER, desc, &isnull));
		if (strcmp(name, TextDatumGetCString(heap_getattr(tuple, ATT_NAME, desc, &isnull))) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a replication cannot be renamed")));
	}
	json = TextDatumGetCString(heap_getattr(tuple, ATT_DEFINITION, desc, &isnull));
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		create(name, json, owner);
	else
		replace(name, old_json, json, owner);
	return PointerGetDatum(NULL);
}

void
repl_define_init(void)
{
	RegisterXactCallback(on_commit, NULL);
}

/* ---- functions ---- */

/* Locked, for its owner; then the replicator is between two batches, and looks after commit. */
static DocConsumer *
take(const char *name, ReplState *state)
{
	DocConsumer *consumer = docstore_consumer_get(DOC_CONSUMER_REPLICATION, name, true);

	if (consumer == NULL || !repl_state_read(name, state))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("replication \"%s\" does not exist", name),
				 errhint("See docstore.replications, or make it with docstore.create_replication.")));
	check_role(consumer->owner);
	changed_in_xact = true;
	return consumer;
}

/* docstore.replace_replication(name text, collections text[], tables json, on_error text) */
Datum
docstore_replace_replication(PG_FUNCTION_ARGS)
{
	Oid types[4] = {TEXTOID, TEXTARRAYOID, JSONOID, TEXTOID};
	Datum values[4] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3)};
	ReplState state;

	PreventCommandIfReadOnly("docstore.replace_replication()");
	(void) take(text_to_cstring(PG_GETARG_TEXT_PP(0)), &state);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE docstore.replications SET definition = pg_catalog.json_build_object('collections', $2, 'tables', $3, "
							  "'on_error', $4) WHERE name OPERATOR(pg_catalog.=) $1",
							  4, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not change the definition");
	SPI_finish();
	PG_RETURN_VOID();
}

/* docstore.drop_replication(name text, remove_rows boolean) */
Datum
docstore_drop_replication(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReplState state;

	PreventCommandIfReadOnly("docstore.drop_replication()");
	(void) take(name, &state);
	if (PG_GETARG_BOOL(1))
	{
		ReplApply *apply = repl_apply_new(state.definition, state.owner);
		ReplCounts counts = {palloc0(list_length(repl_apply_tables(apply)) * sizeof(int64)),
							 palloc0(list_length(repl_apply_tables(apply)) * sizeof(int64))};
		ErrorData *fault = repl_apply_empty(apply, NULL, true, &counts);

		repl_apply_free(apply);
		if (fault != NULL)
			ReThrowError(fault);
	}
	docstore_consumer_drop_whole(DOC_CONSUMER_REPLICATION, name);
	PG_RETURN_VOID();
}

/* docstore.set_replication_paused(name text, paused boolean) */
Datum
docstore_pause_replication(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReplState state;

	PreventCommandIfReadOnly("docstore.pause_replication()");
	(void) take(name, &state);
	repl_state_pause(name, PG_GETARG_BOOL(1));
	PG_RETURN_VOID();
}

/* docstore.reset_replication(name text, remove_rows boolean) */
Datum
docstore_reset_replication(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DocConsumer *consumer;
	ReplState state;

	PreventCommandIfReadOnly("docstore.reset_replication()");
	consumer = take(name, &state);
	/* What the new ones had would be looked for neither by the scan nor in the feed. */
	if (consumer->position < state.scan_to)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot reset replication \"%s\" while collections are being added", name),
				 errhint("Wait until its state in docstore.replication_status is \"following\".")));
	repl_state_reset(name, PG_GETARG_BOOL(1), consumer->collections, consumer->position);
	PG_RETURN_VOID();
}

/* docstore.retry_replication(name text, id text): documents that failed are tried again now; returns how many. */
Datum
docstore_retry_replication(PG_FUNCTION_ARGS)
{
	char *name;
	ReplState state;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PreventCommandIfReadOnly("docstore.retry_replication()");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	(void) take(name, &state);
	PG_RETURN_INT64((int64) repl_errors_hurry(name, PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1))));
}
