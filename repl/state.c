/*
 * state.c - the rows of docstore.replication_state and docstore.replication_error (state.h).
 *
 * A document that failed is tried again after FIRST_PAUSE, and then after pauses
 * that double up to LONGEST_PAUSE.
 */
#include "postgres.h"

#include "repl/state.h"

#include "catalog/pg_authid_d.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "view/pin.h"

#define FIRST_PAUSE "'5 s'"
#define LONGEST_PAUSE "'1 h'"
#define MAX_ARGS 8
#define MAX_PLANS 32

typedef struct Statement
{
	MemoryContext context; /* of the caller */
	ViewPin pin;
	int nargs;
	Oid types[MAX_ARGS];
	Datum values[MAX_ARGS];
	char nulls[MAX_ARGS];
} Statement;

/* Each batch runs several of them: planning them took longer than running them. */
typedef struct StatePlan
{
	const char *sql; /* the very literal */
	SPIPlanPtr plan;
} StatePlan;

static void
begin(Statement *statement)
{
	statement->context = CurrentMemoryContext;
	statement->nargs = 0;
	view_pin(&statement->pin, BOOTSTRAP_SUPERUSERID);
	/* What is planned while a table is small stays. */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

static void
end(Statement *statement)
{
	SPI_finish();
	view_unpin(&statement->pin);
}

static void
arg(Statement *statement, Oid type, Datum value)
{
	Assert(statement->nargs < MAX_ARGS);
	statement->types[statement->nargs] = type;
	statement->values[statement->nargs] = value;
	statement->nulls[statement->nargs++] = ' ';
}

static void
arg_text(Statement *statement, const char *value)
{
	arg(statement, TEXTOID, value != NULL ? CStringGetTextDatum(value) : 0);
	if (value == NULL)
		statement->nulls[statement->nargs - 1] = 'n';
}

static SPIPlanPtr
plan_of(const Statement *statement, const char *sql)
{
	static StatePlan plans[MAX_PLANS];
	int i = 0;

	while (i < MAX_PLANS && plans[i].sql != NULL && plans[i].sql != sql)
		i++;
	if (i == MAX_PLANS)
		elog(ERROR, "too many statements about the state of replications");
	if (plans[i].sql == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(sql, statement->nargs, (Oid *) statement->types);

		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		(void) SPI_keepplan(plan);
		plans[i] = (StatePlan){sql, plan};
	}
	return plans[i].plan;
}

/* The arguments, whose types are those of that literal always, are used up. */
static uint64
run(Statement *statement, const char *sql)
{
	int code = SPI_execute_plan(plan_of(statement, sql), statement->values, statement->nulls, false, 0);

	if (code < 0)
		elog(ERROR, "could not keep the state of a replication: %s", SPI_result_code_string(code));
	statement->nargs = 0;
	return SPI_processed;
}

static Datum
result(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* In the caller's context; NULL if null. */
static char *
result_text(Statement *statement, uint64 row, int column)
{
	MemoryContext old;
	char *string;
	bool isnull;
	Datum value = result(row, column, &isnull);

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(statement->context);
	string = TextDatumGetCString(value);
	MemoryContextSwitchTo(old);
	return string;
}

static void
arg_names(Statement *statement, List *names)
{
	Datum *datums = palloc((list_length(names) + 1) * sizeof(Datum));
	ListCell *lc;

	foreach (lc, names)
		datums[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	arg(statement, TEXTARRAYOID, PointerGetDatum(construct_array(datums, list_length(names), TEXTOID, -1, false, TYPALIGN_INT)));
}

/* In the caller's context. */
static List *
result_names(Statement *statement, uint64 row, int column)
{
	MemoryContext old = MemoryContextSwitchTo(statement->context);
	List *names = NIL;
	bool isnull;
	Datum *datums;
	int n;

	deconstruct_array(DatumGetArrayTypePCopy(result(row, column, &isnull)), TEXTOID, -1, false, TYPALIGN_INT, &datums, NULL, &n);
	for (int i = 0; i < n; i++)
		names = lappend(names, TextDatumGetCString(datums[i]));
	MemoryContextSwitchTo(old);
	return names;
}

static void
run_for(const char *sql, const char *name)
{
	Statement statement;

	begin(&statement);
	arg_text(&statement, name);
	(void) run(&statement, sql);
	end(&statement);
}

/* ---- the state ---- */

void
repl_state_create(const char *name, bool paused, List *collections, uint64 position)
{
	Statement statement;

	begin(&statement);
	arg_text(&statement, name);
	arg(&statement, BOOLOID, BoolGetDatum(paused));
	arg_names(&statement, collections);
	arg(&statement, INT8OID, Int64GetDatum((int64) position));
	(void) run(&statement, "INSERT INTO docstore.replication_state (replication, paused, to_scan, scan_to) VALUES ($1, $2, $3, $4)");
	end(&statement);
}

void
repl_state_drop(const char *name)
{
	repl_errors_forget(name, NULL);
	run_for("DELETE FROM docstore.replication_state WHERE replication = $1", name);
}

void
repl_state_pause(const char *name, bool paused)
{
	Statement statement;

	begin(&statement);
	arg_text(&statement, name);
	arg(&statement, BOOLOID, BoolGetDatum(paused));
	(void) run(&statement, "UPDATE docstore.replication_state SET paused = $2, sqlstate = NULL, reason = NULL WHERE replication = $1");
	end(&statement);
}

void
repl_state_reset(const char *name, bool emptying, List *collections, uint64 position)
{
	Statement statement;

	repl_errors_forget(name, NULL);
	begin(&statement);
	arg_text(&statement, name);
	arg(&statement, BOOLOID, BoolGetDatum(emptying));
	arg_names(&statement, collections);
	arg(&statement, INT8OID, Int64GetDatum((int64) position));
	(void) run(&statement, "UPDATE docstore.replication_state SET emptying = $2, to_scan = $3, next_id = NULL, scan_to = $4, documents = 0, "
						   "sqlstate = NULL, reason = NULL WHERE replication = $1");
	end(&statement);
}

bool
repl_state_read(const char *name, ReplState *state)
{
	Statement statement;
	bool found;
	bool isnull;

	begin(&statement);
	arg_text(&statement, name);
	found = run(&statement, "SELECT r.definition::text, r.owner::oid, s.paused, s.emptying, s.reason IS NOT NULL, s.to_scan, "
							"s.next_id, s.documents, s.scan_to, s.source, s.source_database FROM docstore.replication_state s JOIN docstore.replications r ON r.name = s.replication "
							"WHERE s.replication = $1") > 0;
	if (found)
	{
		state->definition = result_text(&statement, 0, 1);
		state->owner = DatumGetObjectId(result(0, 2, &isnull));
		state->paused = DatumGetBool(result(0, 3, &isnull));
		state->emptying = DatumGetBool(result(0, 4, &isnull));
		state->failed = DatumGetBool(result(0, 5, &isnull));
		state->to_scan = result_names(&statement, 0, 6);
		state->next_id = result_text(&statement, 0, 7);
		state->documents = DatumGetInt64(result(0, 8, &isnull));
		state->scan_to = (uint64) DatumGetInt64(result(0, 9, &isnull));
		state->source = (uint64) DatumGetInt64(result(0, 10, &isnull));
		if (state->source != 0 && DatumGetObjectId(result(0, 11, &isnull)) != MyDatabaseId)
			state->source = REPL_OTHER_SOURCE;
	}
	end(&statement);
	return found;
}

void
repl_state_write(const char *name, const ReplState *state, List *tables, const ReplCounts *counts)
{
	Statement statement;
	ListCell *lc;

	begin(&statement);
	arg_text(&statement, name);
	arg(&statement, BOOLOID, BoolGetDatum(state->emptying));
	arg_names(&statement, state->to_scan);
	arg_text(&statement, state->next_id);
	arg(&statement, INT8OID, Int64GetDatum(state->documents));
	arg(&statement, INT8OID, Int64GetDatum((int64) state->scan_to));
	arg(&statement, INT8OID, Int64GetDatum((int64) state->source));
	arg(&statement, OIDOID, ObjectIdGetDatum(MyDatabaseId));
	(void) run(&statement, "UPDATE docstore.replication_state SET emptying = $2, to_scan = $3, next_id = $4, documents = $5, scan_to = $6, "
						   "source = $7, source_database = $8, "
						   "sqlstate = NULL, reason = NULL, updated = clock_timestamp() WHERE replication = $1");
	foreach (lc, tables)
	{
		int i = foreach_current_index(lc);

		if (counts->written[i] == 0 && counts->deleted[i] == 0)
			continue;
		arg_text(&statement, name);
		arg_text(&statement, lfirst(lc));
		arg(&statement, INT8OID, Int64GetDatum(counts->written[i]));
		arg(&statement, INT8OID, Int64GetDatum(counts->deleted[i]));
		(void) run(&statement, "INSERT INTO docstore.replication_count AS c VALUES ($1, $2, $3, $4) ON CONFLICT (replication, target) "
							   "DO UPDATE SET written = c.written + $3, deleted = c.deleted + $4");
	}
	end(&statement);
}

void
repl_state_fail(const char *name, const char *sqlstate, const char *message)
{
	Statement statement;

	begin(&statement);
	arg_text(&statement, name);
	arg_text(&statement, sqlstate);
	arg_text(&statement, message);
	(void) run(&statement, "UPDATE docstore.replication_state SET sqlstate = $2, reason = $3 "
						   "WHERE replication = $1 AND (sqlstate, reason) IS DISTINCT FROM ($2, $3)");
	end(&statement);
}

List *
repl_state_names(void)
{
	Statement statement;
	List *names = NIL;
	uint64 n;

	begin(&statement);
	n = run(&statement, "SELECT replication FROM docstore.replication_state ORDER BY 1");
	for (uint64 i = 0; i < n; i++)
	{
		char *name = result_text(&statement, i, 1);
		MemoryContext old = MemoryContextSwitchTo(statement.context);

		names = lappend(names, name);
		MemoryContextSwitchTo(old);
	}
	end(&statement);
	return names;
}

/* ---- errors ---- */

List *
repl_errors_due(const char *name, int most, int64 *next_ms)
{
	Statement statement;
	List *failed = NIL;
	uint64 n;
	bool isnull;

	begin(&statement);
	arg_text(&statement, name);
	arg(&statement, INT4OID, Int32GetDatum(most));
	n = run(&statement, "SELECT collection, id, etag, deleted FROM docstore.replication_error "
						"WHERE replication = $1 AND next_try <= clock_timestamp() ORDER BY next_try, id LIMIT $2");
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(statement.context);
		ReplFailed *one = palloc(sizeof(ReplFailed));

		failed = lappend(failed, one);
		MemoryContextSwitchTo(old);
		one->collection = result_text(&statement, i, 1);
		one->id = result_text(&statement, i, 2);
		one->etag = (uint64) DatumGetInt64(result(i, 3, &isnull));
		one->deleted = DatumGetBool(result(i, 4, &isnull));
	}
	arg_text(&statement, name);
	n = run(&statement, "SELECT greatest(ceil(1000 * extract(epoch FROM next_try - clock_timestamp()))::bigint, 0) "
						"FROM docstore.replication_error WHERE replication = $1 ORDER BY next_try LIMIT 1");
	*next_ms = n > 0 ? DatumGetInt64(result(0, 1, &isnull)) : -1;
	end(&statement);
	return failed;
}

static void
note_error(Statement *statement, const char *name, const ReplApply *apply, const ViewDocument *doc, int i)
{
	const char *target = repl_apply_refused(apply, i);

	if (target == NULL && doc->error->table_name != NULL)
		target = quote_qualified_identifier(doc->error->schema_name, doc->error->table_name);
	arg_text(statement, name);
	arg_text(statement, doc->collection);
	arg(statement, TEXTOID, PointerGetDatum(doc->id));
	arg(statement, INT8OID, Int64GetDatum((int64) doc->etag));
	arg(statement, BOOLOID, BoolGetDatum(doc->doc == NULL && doc->broken == NULL));
	arg_text(statement, target);
	arg_text(statement, unpack_sql_state(doc->error->sqlerrcode));
	arg_text(statement, doc->error->message);
	(void) run(statement, "INSERT INTO docstore.replication_error AS e (replication, collection, id, etag, deleted, target, sqlstate, message, "
						  "tries, next_try) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, clock_timestamp() + interval " FIRST_PAUSE ") "
						  "ON CONFLICT (replication, collection, id) DO UPDATE SET etag = $4, deleted = $5, target = $6, sqlstate = $7, "
						  "message = $8, tries = CASE WHEN e.etag = $4 THEN e.tries + 1 ELSE 1 END, next_try = clock_timestamp() + "
						  "least(interval " LONGEST_PAUSE ", interval " FIRST_PAUSE " * 2 ^ CASE WHEN e.etag = $4 THEN least(e.tries, 30) ELSE 0 END)");
}

void
repl_errors_note(const char *name, const ReplApply *apply, const ViewDocument *docs, int n)
{
	const ReplDefinition *definition = repl_apply_definition(apply);
	Datum *ids = palloc((n + 1) * sizeof(Datum));
	Statement statement;
	bool any;
	ListCell *lc;

	begin(&statement);
	arg_text(&statement, name);
	any = run(&statement, "SELECT FROM docstore.replication_error WHERE replication = $1 LIMIT 1") > 0;
	if (any)
		foreach (lc, definition->collections)
		{
			int count = 0;

			for (int i = 0; i < n; i++)
				if (docs[i].error == NULL && strcmp(docs[i].collection, lfirst(lc)) == 0)
					ids[count++] = PointerGetDatum(docs[i].id);
			arg_text(&statement, name);
			arg_text(&statement, lfirst(lc));
			arg(&statement, TEXTARRAYOID, PointerGetDatum(construct_array(ids, count, TEXTOID, -1, false, TYPALIGN_INT)));
			(void) run(&statement, "DELETE FROM docstore.replication_error WHERE replication = $1 AND collection = $2 AND id = ANY ($3)");
		}
	for (int i = 0; i < n; i++)
		if (docs[i].error != NULL)
			note_error(&statement, name, apply, &docs[i], i);
	end(&statement);
}

uint64
repl_errors_hurry(const char *name, const char *id)
{
	Statement statement;
	uint64 n;

	begin(&statement);
	arg_text(&statement, name);
	arg_text(&statement, id);
	n = run(&statement, "UPDATE docstore.replication_error SET next_try = clock_timestamp() WHERE replication = $1 AND ($2 IS NULL OR id = $2)");
	end(&statement);
	return n;
}

void
repl_errors_forget(const char *name, const char *collection)
{
	Statement statement;

	begin(&statement);
	arg_text(&statement, name);
	arg_text(&statement, collection);
	(void) run(&statement, "DELETE FROM docstore.replication_error WHERE replication = $1 AND ($2 IS NULL OR collection = $2)");
	end(&statement);
}
