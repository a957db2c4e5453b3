/*
 * seek.h - conditions on the id that the engine can answer by position: found in clauses, turned into
 * points or a range when a scan starts.
 *
 * Conditions on the etag are no positions, but its bounds leave out files, and blocks of others, that hold nothing
 * that was written in between (lsm_scan_want).
 */
#ifndef DOCSTORE_SEEK_H
#define DOCSTORE_SEEK_H

#include "postgres.h"

#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"

#include "fdw/document.h"
#include "fdw/option.h"

/* Numbers are kept in plans (a list of integers). */
typedef enum SeekOp
{
	SEEK_EQ = 1,
	SEEK_ANY,
	SEEK_LT,
	SEEK_LE,
	SEEK_GT,
	SEEK_GE,
	SEEK_LIKE,   /* operand is a LIKE pattern; its fixed prefix counts, the clause stays a filter */
	SEEK_PREFIX, /* operand is the prefix */
	SEEK_FROM,   /* >= for what begins a row comparison, (id, ...) > (operand, ...); the clause stays a filter */
	SEEK_UPTO,   /* <=, likewise */
	/* The operand is a bigint, or an array of integers: bounds of the etags; the clause stays a filter. */
	SEEK_ETAG_EQ,
	SEEK_ETAG_ANY,
	SEEK_ETAG_LT,
	SEEK_ETAG_LE,
	SEEK_ETAG_GT,
	SEEK_ETAG_GE
} SeekOp;

typedef struct Seek
{
	SeekOp op;
	Expr *operand;
	RestrictInfo *rinfo;
} Seek;

static inline bool
doc_seek_is_etag(SeekOp op)
{
	return op >= SEEK_ETAG_EQ;
}

/* The seek that a clause allows (operands may use other relations' columns), or NULL. */
extern Seek *doc_seek_match(PlannerInfo *root, RelOptInfo *rel, const DocTable *table, RestrictInfo *rinfo);
/* Of a list of RestrictInfos, the seeks to use together: one EQ, or one ANY, or any number of bounds; a list of Seek. */
extern List *doc_seek_choose(PlannerInfo *root, RelOptInfo *rel, const DocTable *table, List *rinfos);
/* Is a clause fully answered by its seek? */
static inline bool
doc_seek_exact(SeekOp op)
{
	return op != SEEK_LIKE && op != SEEK_FROM && op != SEEK_UPTO && !doc_seek_is_etag(op);
}

/* What a LIKE pattern begins with, into prefix (of len bytes), and its length; *exact if there is nothing else in it. */
extern size_t doc_like_prefix(const char *pattern, size_t len, char *prefix, bool *exact);

/* "id >= ", ... for EXPLAIN. */
extern const char *doc_seek_text(SeekOp op);

/* What a scan has to read. */
typedef struct SeekRange
{
	bool points; /* keys[0 .. nkeys), ascending, no doubles */
	DocumentKey **keys;
	int nkeys;
	LsmSlice lower; /* else [lower, upper); nothing if nothing is set */
	LsmSlice upper;
	bool nothing;
	LsmSeqs etags; /* documents with others are not wanted */
} SeekRange;

/* values, nulls: the operands' values.  Allocates in the current context. */
extern void doc_seek_range(uint64 storage, const SeekOp *ops, int nops, const Datum *values, const bool *nulls,
						   SeekRange *range);

#endif
