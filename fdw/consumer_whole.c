/*
 * consumer_whole.c - consumers with all that belongs to them: views and replications are more than a registration (consumer.h).
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "fdw/consumer.h"

const char *
docstore_consumer_kind_name(DocConsumerKind kind)
{
	switch (kind)
	{
		case DOC_CONSUMER_NAMED:
			return "consumer";
		case DOC_CONSUMER_VIEW:
		case DOC_CONSUMER_NEXT_VIEW:
			return "view";
		case DOC_CONSUMER_REPLICATION:
			break;
	}
	return "replication";
}

/* Where those are defined that are more than a registration; NULL: there is no more to it. */
static const char *
definitions(DocConsumerKind kind)
{
	switch (kind)
	{
		case DOC_CONSUMER_VIEW:
		case DOC_CONSUMER_NEXT_VIEW:
			return "docstore.views";
		case DOC_CONSUMER_REPLICATION:
			return "docstore.replications";
		case DOC_CONSUMER_NAMED:
			break;
	}
	return NULL;
}

/*
 * Who may drop a collection, or drop and reassign what a role owns, may do this,
 * whoever the definition belongs to.  Its triggers do the rest.
 */
static void
change(const char *sql, int nargs, const Datum *values, int expected)
{
	Oid types[2] = {TEXTOID, OIDOID};
	int nest_level = NewGUCNestLevel();
	int security;
	Oid user;

	GetUserIdAndSecContext(&user, &security);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, nargs, types, (Datum *) values, NULL, false, 0) != expected)
		elog(ERROR, "\"%s\" failed", sql);
	SPI_finish();
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, security);
}

void
docstore_consumer_drop_whole(DocConsumerKind kind, const char *name)
{
	Datum values[1] = {CStringGetTextDatum(name)};

	if (definitions(kind) != NULL)
		change(psprintf("DELETE FROM %s WHERE name = $1", definitions(kind)), 1, values, SPI_OK_DELETE);
	else
		(void) docstore_consumer_drop(kind, name);
}

void
docstore_consumer_drop_cascade(DocConsumerKind kind, const char *name)
{
	ListCell *lc;

	if (kind == DOC_CONSUMER_VIEW || kind == DOC_CONSUMER_NEXT_VIEW)
		foreach (lc, docstore_consumers_of_view(name))
			docstore_consumer_drop_whole(((DocConsumer *) lfirst(lc))->kind, ((DocConsumer *) lfirst(lc))->name);
	docstore_consumer_drop_whole(kind, name);
}

void
docstore_consumer_give_whole(DocConsumerKind kind, const char *name, Oid owner)
{
	Datum values[2] = {CStringGetTextDatum(name), ObjectIdGetDatum(owner)};

	if (definitions(kind) != NULL)
		change(psprintf("UPDATE %s SET owner = $2::regrole WHERE name = $1", definitions(kind)), 2, values, SPI_OK_UPDATE);
	else
		docstore_consumer_set_owner(kind, name, owner);
}
