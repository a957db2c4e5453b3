/*
 * databases.h - the launcher's work for databases: workers for those that want them.
 */
#ifndef DOCSTORE_DATABASES_H
#define DOCSTORE_DATABASES_H

#include "postgres.h"

#include "store/workers.h"

/* A task's work (task.h), arg is the task: starts what is wanted and does not run. */
extern bool docstore_start_workers(void *arg);

/* What such a worker does first: signals, connection, settings.  Ends the process if there is one already. */
extern void docstore_database_worker_begin(DocstoreWorkerKind kind, Oid database);
/* And between two rounds: new settings, an order to end. */
extern void docstore_database_worker_look(void);

/*
 * Installs the hook that ends a database's workers before DROP DATABASE, and
 * whatever else needs the database for itself, and before DROP EXTENSION.  Called from _PG_init.
 */
extern void docstore_databases_init(void);

#endif
