/*
 * apply.c - rows out in reverse order, rows in in declared order (apply.h).
 *
 * All of it is ordinary DML through prepared plans, as the replication's owner
 * with pinned settings, so triggers, foreign keys and partitions do what they
 * always do.  Deferrable constraints are deferred until the batch is written, and
 * checked before its subtransaction ends: what they refuse is then the
 * document's error and not the transaction's, and their triggers run as the owner
 * and not as the worker.
 */
#include "postgres.h"

#include "repl/apply.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "engine/status.h"
#include "repl/target.h"
#include "store/stop.h"
#include "view/pin.h"

/* New rows of a batch that are held in memory before they go to a file. */
#define ROWS_KB 16384
/* With fewer documents each is searched for at once. */
#define MANY_DOCUMENTS 50

typedef struct Plans
{
	ReplTarget *target;
	SPIPlanPtr plans[REPL_STEPS];
} Plans;

struct ReplApply
{
	MemoryContext context;
	ReplDefinition *definition;
	Oid owner;
	int ntables;
	Plans *tables;
	int current; /* the table that is being written; -1: constraints of all of them are checked */
	/* of the run */
	int *refused; /* by document: the table */
	ReplCounts *counts;
	ReplCounts attempt; /* what is undone with it */
};

/* A batch in the making. */
typedef struct Batch
{
	Datum *ids; /* text[], by collection; 0: none */
	Tuplestorestate *docs;
	Tuplestorestate **rows; /* by table; NULL: not merged */
} Batch;

/* Kept plans are in no context of ours. */
static void
free_plans(void *arg)
{
	ReplApply *apply = arg;

	for (int i = 0; i < apply->ntables; i++)
		for (int step = 0; step < REPL_STEPS; step++)
			if (apply->tables[i].plans[step] != NULL)
				SPI_freeplan(apply->tables[i].plans[step]);
}

ReplApply *
repl_apply_new(const char *json, Oid owner)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore replication", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ReplApply *apply = palloc0(sizeof(ReplApply));
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));
	List *targets = NIL;
	ListCell *lc;
	ViewPin pin;

	apply->context = context;
	apply->owner = owner;
	apply->definition = repl_definition_parse(json);
	apply->ntables = list_length(apply->definition->tables);
	apply->tables = palloc0(apply->ntables * sizeof(Plans));
	view_pin(&pin, owner);
	foreach (lc, apply->definition->tables)
		targets = lappend(targets, repl_target(lfirst(lc), foreach_current_index(lc), owner));
	view_unpin(&pin);
	foreach (lc, targets)
		apply->tables[foreach_current_index(lc)].target = lfirst(lc);
	apply->attempt.written = palloc0(apply->ntables * sizeof(int64));
	apply->attempt.deleted = palloc0(apply->ntables * sizeof(int64));
	callback->func = free_plans;
	callback->arg = apply;
	MemoryContextRegisterResetCallback(context, callback);
	MemoryContextSwitchTo(old);
	return apply;
}

void
repl_apply_check(const ReplApply *apply)
{
	List *targets = NIL;

	for (int i = 0; i < apply->ntables; i++)
		targets = lappend(targets, apply->tables[i].target);
	repl_targets_check(targets);
}

void
repl_apply_keep(ReplApply *apply)
{
	MemoryContextSetParent(apply->context, TopMemoryContext);
}

void
repl_apply_free(ReplApply *apply)
{
	MemoryContextDelete(apply->context);
}

const ReplDefinition *
repl_apply_definition(const ReplApply *apply)
{
	return apply->definition;
}

List *
repl_apply_tables(const ReplApply *apply)
{
	List *oids = NIL;

	for (int i = 0; i < apply->ntables; i++)
		oids = lappend_oid(oids, apply->tables[i].target->relid);
	return oids;
}

List *
repl_apply_names(const ReplApply *apply)
{
	List *names = NIL;

	for (int i = 0; i < apply->ntables; i++)
		names = lappend(names, apply->tables[i].target->name);
	return names;
}

const char *
repl_apply_refused(const ReplApply *apply, int doc)
{
	return apply->refused[doc] < 0 ? NULL : apply->tables[apply->refused[doc]].target->name;
}

/* ---- statements ---- */

/*
 * As the owner.  A security-restricted operation, in which a view's SQL runs, would
 * refuse deferred constraints; what that protects from is seen to by
 * check_constraints, and by whoever commits (worker/replicate.c).
 */
static void
begin(const ReplApply *apply, ViewPin *pin)
{
	view_pin(pin, apply->owner);
	SetUserIdAndSecContext(apply->owner, pin->security | SECURITY_LOCAL_USERID_CHANGE);
	/* A plan that is made while a table is empty must not be one that reads all of it, for each batch, when it is not. */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

static void
end(const ViewPin *pin)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	view_unpin(pin);
}

static void
utility(const char *sql)
{
	int code = SPI_execute(sql, false, 0);

	if (code < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(code));
}

/* What is deferred is done now; what a trigger defers meanwhile is done by the second, which lets nothing be deferred. */
static void
check_constraints(const ReplApply *apply, const ViewPin *pin)
{
	utility("SET CONSTRAINTS ALL IMMEDIATE");
	SetUserIdAndSecContext(apply->owner, pin->security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	utility("SET CONSTRAINTS ALL IMMEDIATE");
}

/* Returns how many rows; 0 if the table has no such step. */
static uint64
run_step(ReplApply *apply, int table, ReplStep step, Datum ids, const char *collection, DestReceiver *dest)
{
	Plans *plans = &apply->tables[table];
	Oid types[2] = {TEXTARRAYOID, TEXTOID};
	SPIExecuteOptions options = {0};
	ParamListInfo params = makeParamList(2);
	int code;

	apply->current = table;
	if (plans->target->sql[step] == NULL)
		return 0;
	if (plans->plans[step] == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(plans->target->sql[step], 2, types);

		if (plan == NULL)
			elog(ERROR, "could not prepare a replication's statement: %s", SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "could not keep a replication's statement");
		plans->plans[step] = plan;
	}
	for (int i = 0; i < 2; i++)
	{
		params->params[i].ptype = types[i];
		params->params[i].pflags = 0;
	}
	params->params[0].value = ids;
	params->params[0].isnull = ids == 0;
	params->params[1].value = collection != NULL ? CStringGetTextDatum(collection) : 0;
	params->params[1].isnull = collection == NULL;
	options.params = params;
	options.read_only = false;
	options.dest = dest;
	code = SPI_execute_plan_extended(plans->plans[step], &options);
	if (code < 0)
		elog(ERROR, "could not run a replication's statement: %s", SPI_result_code_string(code));
	return SPI_processed;
}

static int
compare_ids(const text *a, const text *b)
{
	return lsm_slice_compare(lsm_slice(VARDATA_ANY(a), VARSIZE_ANY_EXHDR(a)), lsm_slice(VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b)));
}

/* The ids of a collection's documents, as text[]; 0 if there are none, unless always.  *ordered: they are many, in bytewise order. */
static Datum
ids_of(const char *collection, const ViewDocument *docs, int first, int n, bool always, bool *ordered)
{
	Datum *ids = palloc((n + 1) * sizeof(Datum));
	int count = 0;

	*ordered = true;
	for (int i = first; i < first + n; i++)
		if (strcmp(docs[i].collection, collection) == 0)
		{
			*ordered = *ordered && (count == 0 || compare_ids((text *) DatumGetPointer(ids[count - 1]), docs[i].id) < 0);
			ids[count++] = PointerGetDatum(docs[i].id);
		}
	*ordered = *ordered && count >= MANY_DOCUMENTS;
	if (count == 0 && !always)
		return 0;
	return PointerGetDatum(construct_array(ids, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Of ids in order: are there no rows in the table that could be theirs? */
static bool
has_none(ReplApply *apply, int table, Datum ids, const char *collection)
{
	bool none;

	if (apply->tables[table].target->sql[REPL_ANY] == NULL)
		return false;
	none = run_step(apply, table, REPL_ANY, ids, collection, NULL) == 0;
	SPI_freetuptable(SPI_tuptable);
	return none;
}

/* The new rows of a table, as a relation of their own. */
static Tuplestorestate *
compute_rows(ReplApply *apply, int table)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, ROWS_KB);
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);
	const ReplTarget *target = apply->tables[table].target;
	CachedPlanSource *plan;

	SetTuplestoreDestReceiverParams(dest, rows, CurrentMemoryContext, true, NULL, NULL);
	(void) run_step(apply, table, REPL_COMPUTE, 0, NULL, dest);
	relation->md.name = target->rows;
	plan = linitial(SPI_plan_get_plan_sources(apply->tables[table].plans[REPL_COMPUTE]));
	relation->md.tupdesc = CreateTupleDescCopy(plan->resultDesc);
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = (double) tuplestore_tuple_count(rows);
	relation->reldata = rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register new rows");
	dest->rDestroy(dest);

	if (run_step(apply, table, REPL_TWICE, 0, NULL, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("the select returns two rows that the key of table %s does not tell apart", target->name)));
	SPI_freetuptable(SPI_tuptable);
	return rows;
}

/* What ViewBatchWork wants. */
static void
run(void *arg, ViewDocument *docs, int first, int n)
{
	ReplApply *apply = arg;
	List *collections = apply->definition->collections;
	Tuplestorestate **rows;
	Tuplestorestate *batch;
	ViewPin pin;
	Datum *ids;
	bool *ordered;
	bool *none; /* by table and collection: the table has no rows of these documents */
	int ncollections = list_length(collections);
	ListCell *lc;

	apply->current = -1;
	for (int i = first; i < first + n; i++)
		if (docs[i].broken != NULL)
			ereport(ERROR, (errcode(docs[i].broken->sqlerrcode), errmsg_internal("%s", docs[i].broken->message)));
	apply->current = 0;
	memset(apply->attempt.written, 0, apply->ntables * sizeof(int64));
	memset(apply->attempt.deleted, 0, apply->ntables * sizeof(int64));
	begin(apply, &pin);
	utility("SET CONSTRAINTS ALL DEFERRED");
	batch = view_batch_register(docs, first, n);
	ids = palloc0(ncollections * sizeof(Datum));
	ordered = palloc0(ncollections * sizeof(bool));
	none = palloc0(apply->ntables * ncollections * sizeof(bool));
	foreach (lc, collections)
		ids[foreach_current_index(lc)] = ids_of(lfirst(lc), docs, first, n, n == 0, &ordered[foreach_current_index(lc)]);
	rows = palloc0(apply->ntables * sizeof(Tuplestorestate *));
	for (int i = 0; i < apply->ntables; i++)
		if (apply->tables[i].target->sql[REPL_COMPUTE] != NULL)
			rows[i] = compute_rows(apply, i);

	for (int i = apply->ntables - 1; i >= 0; i--)
		foreach (lc, collections)
		{
			int c = foreach_current_index(lc);

			if (ids[c] == 0)
				continue;
			none[i * ncollections + c] = ordered[c] && has_none(apply, i, ids[c], lfirst(lc));
			if (!none[i * ncollections + c])
				apply->attempt.deleted[i] += (int64) run_step(apply, i, REPL_REMOVE, ids[c], lfirst(lc), NULL);
		}
	docstore_stop("replicate removed");
	for (int i = 0; i < apply->ntables; i++)
		foreach (lc, collections)
		{
			int c = foreach_current_index(lc);

			if (ids[c] == 0)
				continue;
			if (!none[i * ncollections + c])
				apply->attempt.written[i] += (int64) run_step(apply, i, REPL_UPDATE, ids[c], lfirst(lc), NULL);
			apply->attempt.written[i] += (int64) run_step(apply, i, REPL_INSERT, ids[c], lfirst(lc), NULL);
		}
	apply->current = -1;
	check_constraints(apply, &pin);

	for (int i = 0; i < apply->ntables; i++)
	{
		if (rows[i] != NULL)
			tuplestore_end(rows[i]);
		apply->counts->written[i] += apply->attempt.written[i];
		apply->counts->deleted[i] += apply->attempt.deleted[i];
	}
	tuplestore_end(batch);
	end(&pin);
}

static void
undone(void *arg, ViewDocument *docs, int first, int n)
{
	ReplApply *apply = arg;

	if (n == 1)
		apply->refused[first] = apply->current;
}

ErrorData *
repl_apply_run(ReplApply *apply, ViewDocument *docs, int n, ReplCounts *counts)
{
	ViewBatchWork work = {run, undone, apply};

	apply->refused = palloc0((n + 1) * sizeof(int));
	apply->counts = counts;
	return view_batch_run(&work, docs, n);
}

/* ---- emptying ---- */

typedef struct Emptying
{
	ReplApply *apply;
	const char *collection;
	bool always;
} Emptying;

static void
run_empty(void *arg, ViewDocument *docs, int first, int n)
{
	Emptying *emptying = arg;
	ReplApply *apply = emptying->apply;
	ListCell *lc;
	ViewPin pin;

	begin(apply, &pin);
	utility("SET CONSTRAINTS ALL DEFERRED");
	for (int i = apply->ntables - 1; i >= 0; i--)
	{
		if (apply->tables[i].target->table->mode == REPL_INSERT_ONLY && !emptying->always)
			continue;
		foreach (lc, apply->definition->collections)
			if (emptying->collection == NULL || strcmp(emptying->collection, lfirst(lc)) == 0)
				apply->counts->deleted[i] += (int64) run_step(apply, i, REPL_EMPTY, 0, lfirst(lc), NULL);
	}
	check_constraints(apply, &pin);
	end(&pin);
}

static void
undone_empty(void *arg, ViewDocument *docs, int first, int n)
{
}

ErrorData *
repl_apply_empty(ReplApply *apply, const char *collection, bool always, ReplCounts *counts)
{
	Emptying emptying = {apply, collection, always};
	ViewBatchWork work = {run_empty, undone_empty, &emptying};

	apply->counts = counts;
	return view_batch_run(&work, NULL, 0);
}
