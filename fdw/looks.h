/*
 * looks.h - could an INSERT's own functions look for the rows before?  Then those must not be kept to be written together.
 */
#ifndef DOCSTORE_LOOKS_H
#define DOCSTORE_LOOKS_H

#include "postgres.h"

#include "nodes/execnodes.h"

/* Of an INSERT whose subplan is initialized: does it run anything for a row that could see the one before? */
extern bool docstore_insert_looks(ModifyTableState *mtstate);

#endif
