/*
 * analyze.h - statistics over a collection, for ANALYZE.
 */
#ifndef DOCSTORE_ANALYZE_H
#define DOCSTORE_ANALYZE_H

#include "postgres.h"

#include "foreign/fdwapi.h"

extern bool docstore_analyze(Relation relation, AcquireSampleRowsFunc *func, BlockNumber *pages);

#endif
