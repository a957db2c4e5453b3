/*
 * handler.c - which function does what for foreign tables over collections (view/handler.c for all).
 */
#include "postgres.h"

#include "fdw/handler.h"

#include "fdw/analyze.h"
#include "fdw/direct.h"
#include "fdw/explain.h"
#include "fdw/import.h"
#include "fdw/mark.h"
#include "fdw/modify.h"
#include "fdw/plan.h"
#include "fdw/scan.h"
#include "store/store.h"

void
docstore_collection_routine(FdwRoutine *routine)
{
	routine->GetForeignRelSize = docstore_get_rel_size;
	routine->GetForeignPaths = docstore_get_paths;
	routine->GetForeignPlan = docstore_get_plan;
	routine->BeginForeignScan = docstore_begin_scan;
	routine->IterateForeignScan = docstore_iterate_scan;
	routine->ReScanForeignScan = docstore_rescan;
	routine->EndForeignScan = docstore_end_scan;

	routine->GetForeignRowMarkType = docstore_row_mark_type;
	routine->RefetchForeignRow = docstore_refetch_row;

	routine->AddForeignUpdateTargets = docstore_add_update_targets;
	routine->PlanForeignModify = docstore_plan_modify;
	routine->BeginForeignModify = docstore_begin_modify;
	routine->ExecForeignInsert = docstore_exec_insert;
	routine->ExecForeignBatchInsert = docstore_exec_batch_insert;
	routine->GetForeignModifyBatchSize = docstore_batch_size;
	routine->ExecForeignUpdate = docstore_exec_update;
	routine->ExecForeignDelete = docstore_exec_delete;
	routine->EndForeignModify = docstore_end_modify;
	routine->BeginForeignInsert = docstore_begin_insert;
	routine->EndForeignInsert = docstore_end_insert;
	routine->ExecForeignTruncate = docstore_exec_truncate;
	routine->IsForeignRelUpdatable = docstore_is_updatable;

	routine->PlanDirectModify = docstore_plan_direct;
	routine->BeginDirectModify = docstore_begin_direct;
	routine->IterateDirectModify = docstore_iterate_direct;
	routine->EndDirectModify = docstore_end_scan;
	routine->ExplainDirectModify = docstore_explain_scan;

	routine->ExplainForeignScan = docstore_explain_scan;
	routine->ExplainForeignModify = docstore_explain_modify;
	routine->AnalyzeForeignTable = docstore_analyze;
	routine->ImportForeignSchema = docstore_import_schema;
	routine->IsForeignScanParallelSafe = docstore_is_parallel_safe;
	routine->EstimateDSMForeignScan = docstore_estimate_dsm;
	routine->InitializeDSMForeignScan = docstore_initialize_dsm;
	routine->ReInitializeDSMForeignScan = docstore_reinitialize_dsm;
	routine->InitializeWorkerForeignScan = docstore_initialize_worker;
	routine->ShutdownForeignScan = docstore_shutdown_scan;
}
