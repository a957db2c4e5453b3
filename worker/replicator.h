/*
 * replicator.h - "docstore replicator", one for each database that has replications: moves changes into their tables.
 */
#ifndef DOCSTORE_REPLICATOR_H
#define DOCSTORE_REPLICATOR_H

#include "postgres.h"

extern PGDLLEXPORT void docstore_replicator_main(Datum database);

#endif
