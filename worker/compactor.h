/*
 * compactor.h - "docstore compactor": recovery, flushes, compactions, the slot that keeps WAL.
 */
#ifndef DOCSTORE_COMPACTOR_H
#define DOCSTORE_COMPACTOR_H

#include "postgres.h"

/* Registers the background worker; only while shared_preload_libraries load. */
extern void docstore_compactor_register(void);
extern PGDLLEXPORT void docstore_compactor_main(Datum arg);

#endif
