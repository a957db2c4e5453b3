/*
 * databases.h - the launcher's work for databases: workers for those that want them.
 */
#ifndef DOCSTORE_DATABASES_H
#define DOCSTORE_DATABASES_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "store/workers.h"

/* A task's work (task.h), arg is the task: starts what is wanted and does not run. */
extern bool docstore_start_workers(void *arg);

/* What such a worker does first: signals, connection, settings.  Ends the process if there is one already. */
extern void docstore_database_worker_begin(DocstoreWorkerKind kind, Oid database);
/* And between two rounds: new settings, an order to end. */
extern void docstore_database_worker_look(void);
/*
 * After it was woken: a round of few changes costs several times as much for each, for transactions and queries.  So one
 * does not follow another at once, `since` being when that began, unless somebody waits for it (docstore_want_worker), or the last one
 * has taken so long that there are many.  Our latch is set already then, so those who commit meanwhile need not wake anybody.
 */
extern void docstore_database_worker_gather(TimestampTz since);

/*
 * Installs the hook that ends a database's workers before DROP DATABASE, and
 * whatever else needs the database for itself, and before DROP EXTENSION.  Called from _PG_init.
 */
extern void docstore_databases_init(void);

#endif
