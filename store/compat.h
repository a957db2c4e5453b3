/*
 * compat.h - where newer PostgreSQL majors differ from 15.  The only file with version guards.
 *
 * Macros rather than functions, so that a file needs only the headers it includes anyway.
 */
#ifndef DOCSTORE_COMPAT_H
#define DOCSTORE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "docstore needs PostgreSQL 15 or later"
#endif

/* A function that does not return; before 18 the macro came after the declaration and had another name. */
#ifndef pg_noreturn
#define pg_noreturn _Noreturn
#endif

/* ---- processes, transactions (store/store.c, store/txn.c, store/slot.c) ---- */

/*
 * A number from 0 that no other process has at the moment, below MaxBackends for
 * backends and workers; the PGPROC of who has it, perhaps NULL if nobody does; and
 * the number of this process's PGPROC, likewise.
 */
#if PG_VERSION_NUM >= 170000
#define docstore_backend_number() (MyProcNumber)
#define docstore_backend_proc(number) (GetPGProcByNumber(number))
#define docstore_my_lxid() (MyProc->vxid.lxid)
#define docstore_oldest_clog_xid() (TransamVariables->oldestClogXid)
#define docstore_proc_number() (MyProcNumber)
#else
#define docstore_backend_number() (MyBackendId - 1)
#define docstore_backend_proc(number) (BackendIdGetProc((number) + 1))
#define docstore_my_lxid() (MyProc->lxid)
#define docstore_oldest_clog_xid() (ShmemVariableCache->oldestClogXid)
#define docstore_proc_number() (MyProc->pgprocno)
#endif

/*
 * An error while a page of the commit log is read leaves its lock behind for the
 * abort of the transaction to release.  Since 17 it is one of many that cannot be
 * named from outside: then only the end of the process releases it.
 */
#if PG_VERSION_NUM >= 170000
#define docstore_release_clog_lock() ereport(FATAL, (errmsg("could not read the commit log")))
#else
#define docstore_release_clog_lock()      \
	do                                    \
	{                                     \
		if (LWLockHeldByMe(XactSLRULock)) \
			LWLockRelease(XactSLRULock);  \
	} while (0)
#endif

/* The database in a relation's physical identity (store/predicate.c). */
#if PG_VERSION_NUM >= 160000
#define docstore_relation_database(relation) ((relation)->rd_locator.dbOid)
#else
#define docstore_relation_database(relation) ((relation)->rd_node.dbNode)
#endif

/* ---- replication slots (store/slot.c) ---- */

#if PG_VERSION_NUM >= 170000
#define docstore_create_slot(name, persistency) ReplicationSlotCreate(name, false, persistency, false, false, false)
#else
#define docstore_create_slot(name, persistency) ReplicationSlotCreate(name, false, persistency, false)
#endif

/* Without waiting for whoever has it, and also if it is invalidated. */
#if PG_VERSION_NUM >= 180000
#define docstore_acquire_slot(name) ReplicationSlotAcquire(name, true, false)
#else
#define docstore_acquire_slot(name) ReplicationSlotAcquire(name, true)
#endif

#if PG_VERSION_NUM >= 160000
#define docstore_slot_invalidated(slot) ((slot)->data.invalidated != RS_INVAL_NONE)
#else
#define docstore_slot_invalidated(slot) (!XLogRecPtrIsInvalid((slot)->data.invalidated_at))
#endif

/* ---- planner (fdw/plan.c, fdw/seek.c, view/seek.c) ---- */

/* Pathkeys for one expression of a relation, made only if an equivalence class for it exists. */
#if PG_VERSION_NUM >= 160000
#define docstore_expression_pathkey(root, expr, opno, rel) build_expression_pathkey(root, expr, opno, (rel)->relids, false)
#else
#define docstore_expression_pathkey(root, expr, opno, rel) \
	build_expression_pathkey(root, expr, NULL, opno, (rel)->relids, false)
#endif

#if PG_VERSION_NUM >= 180000
#define docstore_foreignscan_path(root, rel, rows, startup, total, pathkeys, outer, private) \
	create_foreignscan_path(root, rel, NULL, rows, 0, startup, total, pathkeys, outer, NULL, NIL, private)
#elif PG_VERSION_NUM >= 170000
#define docstore_foreignscan_path(root, rel, rows, startup, total, pathkeys, outer, private) \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, pathkeys, outer, NULL, NIL, private)
#else
#define docstore_foreignscan_path(root, rel, rows, startup, total, pathkeys, outer, private) \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, pathkeys, outer, NULL, private)
#endif

#if PG_VERSION_NUM >= 170000
#define docstore_array_length(root, node) estimate_array_length(root, node)
#else
#define docstore_array_length(root, node) estimate_array_length(node)
#endif

/* The comparison that a row comparison makes. */
#if PG_VERSION_NUM >= 180000
#define DOCSTORE_ROW_LT COMPARE_LT
#define DOCSTORE_ROW_LE COMPARE_LE
#define DOCSTORE_ROW_GE COMPARE_GE
#define DOCSTORE_ROW_GT COMPARE_GT
#define docstore_row_comparison(expr) ((expr)->cmptype)
#else
#define DOCSTORE_ROW_LT ROWCOMPARE_LT
#define DOCSTORE_ROW_LE ROWCOMPARE_LE
#define DOCSTORE_ROW_GE ROWCOMPARE_GE
#define DOCSTORE_ROW_GT ROWCOMPARE_GT
#define docstore_row_comparison(expr) ((expr)->rctype)
#endif

/* Does a collation order bytewise? */
#if PG_VERSION_NUM >= 180000
#include "utils/pg_locale.h"
#define docstore_collation_is_c(collation) (pg_newlocale_from_collation(collation)->collate_is_c)
#else
#include "utils/pg_locale.h"
#define docstore_collation_is_c(collation) lc_collate_is_c(collation)
#endif

/* ---- rights (fdw/collection.c, fdw/owner.c, store/template.c) ---- */

#if PG_VERSION_NUM >= 160000
#define docstore_owns_database(database, role) object_ownercheck(DatabaseRelationId, database, role)
#define docstore_owns_extension(extension, role) object_ownercheck(ExtensionRelationId, extension, role)
#include "catalog/pg_foreign_server.h"
#define docstore_owns_relation(relid, role) object_ownercheck(RelationRelationId, relid, role)
#define docstore_server_aclcheck(server, role, mode) object_aclcheck(ForeignServerRelationId, server, role, mode)
#define docstore_check_can_be_role(member, role) check_can_set_role(member, role)
#else
#define docstore_owns_database(database, role) pg_database_ownercheck(database, role)
#define docstore_owns_extension(extension, role) pg_extension_ownercheck(extension, role)
#define docstore_check_can_be_role(member, role) check_is_member_of_role(member, role)
#define docstore_owns_relation(relid, role) pg_class_ownercheck(relid, role)
#define docstore_server_aclcheck(server, role, mode) pg_foreign_server_aclcheck(server, role, mode)
#endif

/* ---- names (repl/define.c, repl/target.c) ---- */

#if PG_VERSION_NUM >= 160000
#define docstore_qualified_name(text) stringToQualifiedNameList(text, NULL)
#else
#define docstore_qualified_name(text) stringToQualifiedNameList(text)
#endif

/* ---- values (view/key.c) ---- */

/* Macros for variable-length values have a header of their own since 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* ---- executor (view/wait.c) ---- */

#if PG_VERSION_NUM >= 180000
#define DOCSTORE_EXECUTOR_RUN_PARAMS QueryDesc *query, ScanDirection direction, uint64 count
#define DOCSTORE_EXECUTOR_RUN_ARGS query, direction, count
#else
#define DOCSTORE_EXECUTOR_RUN_PARAMS QueryDesc *query, ScanDirection direction, uint64 count, bool once
#define DOCSTORE_EXECUTOR_RUN_ARGS query, direction, count, once
#endif

/* ---- explain, analyze (fdw/explain.c, fdw/analyze.c) ---- */

#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#define docstore_delay_point() vacuum_delay_point(true)
#else
#include "commands/explain.h"
#define docstore_delay_point() vacuum_delay_point()
#endif

/* ---- COPY (fdw/copy.c) ---- */

/*
 * The state of the COPY FROM that has called, if it gives a foreign table its rows
 * one by one, else NULL.  Since 16 it asks for the size of a batch, as INSERT does.
 */
#if PG_VERSION_NUM >= 160000
#define docstore_single_copy() ((CopyFromState) NULL)
#else
#define docstore_single_copy()                                                             \
	(error_context_stack != NULL && error_context_stack->callback == CopyFromErrorCallback \
		 ? (CopyFromState) error_context_stack->arg                                        \
		 : NULL)
#endif

#endif
