/*
 * launcher.h - "docstore launcher": knows which databases there are.
 */
#ifndef DOCSTORE_LAUNCHER_H
#define DOCSTORE_LAUNCHER_H

#include "postgres.h"

extern void docstore_launcher_register(void);
extern PGDLLEXPORT void docstore_launcher_main(Datum arg);

#endif
