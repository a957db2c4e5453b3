/*
 * indexer.h - "docstore indexer", one for each database that has views: builds their rows and keeps them up to date.
 */
#ifndef DOCSTORE_INDEXER_H
#define DOCSTORE_INDEXER_H

#include "postgres.h"

extern PGDLLEXPORT void docstore_indexer_main(Datum database);

#endif
