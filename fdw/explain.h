/*
 * explain.h - what EXPLAIN shows of a scan: "Seek", "Range" or "Full Scan".
 */
#ifndef DOCSTORE_EXPLAIN_H
#define DOCSTORE_EXPLAIN_H

#include "postgres.h"

#include "foreign/fdwapi.h"

#include "store/compat.h"

extern void docstore_explain_scan(ForeignScanState *node, ExplainState *es);
extern void docstore_explain_modify(ModifyTableState *mtstate, ResultRelInfo *rri, List *private, int subplan_index,
									ExplainState *es);

#endif
