/*
 * replicator.h - "docstore replicator", one for each database that has replications: moves changes into their tables.
 */
#ifndef DOCSTORE_REPLICATOR_H
#define DOCSTORE_REPLICATOR_H

#include "postgres.h"

#include "postmaster/bgworker.h"

/* Starts one (from the launcher); NULL if there is no free worker slot. */
extern BackgroundWorkerHandle *docstore_replicator_start(Oid database);
extern PGDLLEXPORT void docstore_replicator_main(Datum database);

#endif
