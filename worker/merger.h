/*
 * merger.h - "docstore merger": compactions beside those of the compactor.
 */
#ifndef DOCSTORE_MERGER_H
#define DOCSTORE_MERGER_H

#include "postgres.h"

/* Registers docstore.max_compactions - 1 background workers; only while shared_preload_libraries load. */
extern void docstore_mergers_register(void);
extern PGDLLEXPORT void docstore_merger_main(Datum arg);

#endif
