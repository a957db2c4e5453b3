/*
 * handler.h - the foreign data wrapper's functions for foreign tables over collections.
 */
#ifndef DOCSTORE_HANDLER_H
#define DOCSTORE_HANDLER_H

#include "postgres.h"

#include "foreign/fdwapi.h"

/* Fills in a routine that makeNode made. */
extern void docstore_collection_routine(FdwRoutine *routine);

#endif
