/*
 * owner.c - who owns collections, and consumers of their changes (owner.h).
 *
 * PostgreSQL knows no kind of object that a collection could be, but it must
 * know that the role is needed, in every database.  So each role that owns
 * collections is recorded in pg_shdepend like one that has privileges for the
 * catalog table: DROP ROLE is refused, from other databases too; copying and
 * dropping a database copy and drop the records; REASSIGN OWNED leaves them alone.
 * What DROP OWNED and REASSIGN OWNED do to collections is done here, around
 * PostgreSQL's own work.
 *
 * Lock: who adds an owner holds the records shared to the end of the
 * transaction, who removes one exclusively, so that no record goes away while
 * somebody relies on it.
 */
#include "postgres.h"

#include "fdw/owner.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_shdepend.h"
#include "commands/extension.h"
#include "commands/user.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "store/compat.h"

static ProcessUtility_hook_type next_utility;
static object_access_hook_type next_object_access;

PG_FUNCTION_INFO_V1(docstore_set_owner);

/* ---- the records ---- */

static void
lock_records(LOCKMODE mode)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, docstore_collection_catalog(), 1);
	(void) LockAcquire(&tag, mode, false, false);
}

static List *
recorded(void)
{
	Relation rel = table_open(SharedDependRelationId, AccessShareLock);
	List *roles = NIL;
	ScanKeyData keys[4];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_pg_shdepend_dbid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(MyDatabaseId));
	ScanKeyInit(&keys[1], Anum_pg_shdepend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[2], Anum_pg_shdepend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(docstore_collection_catalog()));
	ScanKeyInit(&keys[3], Anum_pg_shdepend_objsubid, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(0));
	scan = systable_beginscan(rel, SharedDependDependerIndexId, true, NULL, 4, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_shdepend form = (Form_pg_shdepend) GETSTRUCT(tuple);

		if (form->deptype == SHARED_DEPENDENCY_ACL)
			roles = list_append_unique_oid(roles, form->refobjid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return roles;
}

/* Roles that do have privileges for the catalog table. */
static List *
grantees(void)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(docstore_collection_catalog()));
	List *roles = NIL;
	bool isnull;
	Datum acl;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "could not find docstore.collection");
	acl = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
	{
		Oid *members;
		int n = aclmembers(DatumGetAclP(acl), &members);

		for (int i = 0; i < n; i++)
			roles = list_append_unique_oid(roles, members[i]);
	}
	ReleaseSysCache(tuple);
	return roles;
}

static List *
owners(void)
{
	List *roles = NIL;
	ListCell *lc;

	foreach (lc, docstore_collection_list())
		roles = list_append_unique_oid(roles, ((DocCollection *) lfirst(lc))->owner);
	foreach (lc, docstore_consumer_list())
		roles = list_append_unique_oid(roles, ((DocConsumer *) lfirst(lc))->owner);
	return roles;
}

/* Sorted, as updateAclDependencies wants it. */
static Oid *
array_of(List *roles)
{
	Oid *array = palloc(Max(list_length(roles), 1) * sizeof(Oid));
	ListCell *lc;

	list_sort(roles, list_oid_cmp);
	foreach (lc, roles)
		array[foreach_current_index(lc)] = lfirst_oid(lc);
	return array;
}

static void
replace_records(List *before, List *after)
{
	updateAclDependencies(RelationRelationId, docstore_collection_catalog(), 0, InvalidOid, list_length(before),
						  array_of(before), list_length(after), array_of(after));
	CommandCounterIncrement();
}

void
docstore_owner_added(Oid role)
{
	lock_records(ShareLock);
	if (!list_member_oid(recorded(), role))
		replace_records(NIL, list_make1_oid(role));
}

void
docstore_owners_changed(void)
{
	List *needed;

	lock_records(ShareLock);
	needed = list_concat_unique_oid(owners(), grantees());
	if (list_difference_oid(recorded(), needed) != NIL)
	{
		lock_records(ExclusiveLock);
		needed = list_concat_unique_oid(owners(), grantees());
	}
	replace_records(recorded(), needed);
}

/* ---- changing the owner ---- */

/* docstore.set_owner(collection text, new_owner regrole): as ALTER ... OWNER TO. */
Datum
docstore_set_owner(PG_FUNCTION_ARGS)
{
	Oid role = PG_GETARG_OID(1);
	DocCollection collection;

	PreventCommandIfReadOnly("docstore.set_owner()");
	docstore_collection_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), NoLock, &collection);
	docstore_collection_check_owner(&collection);
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role with OID %u does not exist", role)));
	docstore_check_can_be_role(GetUserId(), role);
	docstore_collection_get(collection.name, AccessExclusiveLock, &collection);
	docstore_collection_check_owner(&collection);
	docstore_collection_set_owner(collection.name, role);
	docstore_owners_changed();
	PG_RETURN_VOID();
}

/* ---- DROP OWNED, REASSIGN OWNED ---- */

/*
 * Without records PostgreSQL has no privileges to revoke, which it would not let
 * everybody do.  They come back for the roles that still own collections afterwards.
 */
static void
forget(List *roles)
{
	lock_records(ExclusiveLock);
	replace_records(list_difference_oid(roles, grantees()), NIL);
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	DropOwnedStmt *drop = IsA(pstmt->utilityStmt, DropOwnedStmt) ? (DropOwnedStmt *) pstmt->utilityStmt : NULL;
	ReassignOwnedStmt *reassign =
		IsA(pstmt->utilityStmt, ReassignOwnedStmt) ? (ReassignOwnedStmt *) pstmt->utilityStmt : NULL;
	List *roles = NIL;
	ListCell *lc;

	if ((drop != NULL || reassign != NULL) && docstore_collection_installed())
		roles = roleSpecsToIds(drop != NULL ? drop->roles : reassign->roles);
	if (roles != NIL && drop != NULL)
		forget(roles);

	if (next_utility != NULL)
		next_utility(pstmt, query, read_only, context, params, env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env, dest, completion);

	/* The caller may do this: PostgreSQL has seen to that.  The roles may have owned the extension itself. */
	if (roles == NIL || !docstore_collection_installed())
		return;
	CommandCounterIncrement();
	foreach (lc, docstore_consumer_list())
	{
		DocConsumer *consumer = lfirst(lc);

		/* A view's replacement goes with the view, which goes behind the replications that read it. */
		if (consumer->kind == DOC_CONSUMER_NEXT_VIEW || !list_member_oid(roles, consumer->owner))
			continue;
		if (drop != NULL && drop->behavior != DROP_CASCADE && consumer->kind == DOC_CONSUMER_VIEW)
			docstore_check_foreign_tables("view", consumer->name, consumer->owner, roles);
		if (drop != NULL && drop->behavior == DROP_CASCADE)
			docstore_consumer_drop_cascade(consumer->kind, consumer->name);
		else if (drop != NULL)
			docstore_consumer_drop_whole(consumer->kind, consumer->name);
		else
			docstore_consumer_give_whole(consumer->kind, consumer->name, get_rolespec_oid(reassign->newrole, false));
	}
	foreach (lc, docstore_collection_list())
	{
		DocCollection *collection = lfirst(lc);

		if (!list_member_oid(roles, collection->owner))
			continue;
		if (drop != NULL)
		{
			if (drop->behavior != DROP_CASCADE)
				docstore_check_foreign_tables("collection", collection->name, collection->owner, roles);
			docstore_collection_drop(collection->name, drop->behavior == DROP_CASCADE);
		}
		else
			docstore_collection_set_owner(collection->name, get_rolespec_oid(reassign->newrole, false));
	}
	docstore_owners_changed();
}

/* ---- DROP ROLE ---- */

static void
refuse(Oid role, const char *kind, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("role \"%s\" cannot be dropped because some objects depend on it", GetUserNameFromId(role, false)),
			 errdetail("It owns %s \"%s\".", kind, name),
			 errhint("Use REASSIGN OWNED, DROP OWNED or docstore.set_owner first.")));
}

/* It would be refused for the record's sake; here it can be said what is in the way. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_object_access)
		next_object_access(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == AuthIdRelationId && docstore_collection_installed())
	{
		ListCell *lc;

		foreach (lc, docstore_collection_list())
		{
			DocCollection *collection = lfirst(lc);

			if (collection->owner == object_id)
				refuse(object_id, "collection", collection->name);
		}
		foreach (lc, docstore_consumer_list())
		{
			DocConsumer *consumer = lfirst(lc);

			if (consumer->owner == object_id)
				refuse(object_id, docstore_consumer_kind_name(consumer->kind), consumer->name);
		}
	}
}

void
docstore_owner_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	next_object_access = object_access_hook;
	object_access_hook = object_access;
}
