/*
 * seek.c - conditions on the id as positions in the store.
 *
 * Ids are ordered bytewise, so <, <=, > and >= count only under a collation that
 * orders so, too; the pattern operators (~<~ and their kin) always do.  For
 * equality and prefixes any deterministic collation will do.  "id IS NULL" is
 * true of no document, as "id = NULL" is.
 *
 * Of the etag both bounds count: "etag > 5", "(etag, id) <= (5, 'a')", and of a list the lowest and the highest.
 */
#include "postgres.h"

#include "fdw/seek.h"

#include "access/stratnum.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "store/compat.h"

#define TEXT_LESS_EQUAL_OPERATOR 665
#define TEXT_GREATER_OPERATOR 666
#define TEXT_PATTERN_LESS_EQUAL_OPERATOR 2315
#define TEXT_PATTERN_GREATER_OPERATOR 2318

static bool
is_column(Node *node, RelOptInfo *rel, AttrNumber column)
{
	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node != NULL && IsA(node, Var) && ((Var *) node)->varno == rel->relid &&
		   ((Var *) node)->varattno == column && ((Var *) node)->varlevelsup == 0;
}

static bool
is_id(Node *node, RelOptInfo *rel, const DocTable *table)
{
	return is_column(node, rel, table->id);
}

/* May the other side be computed before the scan starts? */
static bool
is_operand(PlannerInfo *root, Node *node, RelOptInfo *rel)
{
	return !bms_is_member(rel->relid, pull_varnos(root, node)) && !contain_volatile_functions(node) &&
		   !contain_subplans(node);
}

/* The seek of "etag op operand". */
static SeekOp
etag_seek(Oid opno, bool flip)
{
	switch (get_op_opfamily_strategy(opno, INTEGER_BTREE_FAM_OID))
	{
		case BTEqualStrategyNumber:
			return SEEK_ETAG_EQ;
		case BTGreaterStrategyNumber:
			return flip ? SEEK_ETAG_LT : SEEK_ETAG_GT;
		case BTGreaterEqualStrategyNumber:
			return flip ? SEEK_ETAG_LE : SEEK_ETAG_GE;
		case BTLessStrategyNumber:
			return flip ? SEEK_ETAG_GT : SEEK_ETAG_LT;
		case BTLessEqualStrategyNumber:
			return flip ? SEEK_ETAG_GE : SEEK_ETAG_LE;
		default:
			return 0;
	}
}

/* The seek of "left op right", one of which is the etag; operand becomes a bigint. */
static SeekOp
match_etag_operator(Oid opno, Node *left, Node *right, RelOptInfo *rel, const DocTable *table, Node **operand)
{
	bool flip = !is_column(left, rel, table->etag);

	if (flip && !is_column(right, rel, table->etag))
		return 0;
	*operand = flip ? left : right;
	switch (exprType(*operand))
	{
		case INT8OID:
			break;
		case INT4OID:
			*operand = (Node *) makeFuncExpr(F_INT8_INT4, INT8OID, list_make1(*operand), InvalidOid, InvalidOid, COERCE_IMPLICIT_CAST);
			break;
		case INT2OID:
			*operand = (Node *) makeFuncExpr(F_INT8_INT2, INT8OID, list_make1(*operand), InvalidOid, InvalidOid, COERCE_IMPLICIT_CAST);
			break;
		default:
			return 0;
	}
	return etag_seek(opno, flip);
}

/* Bounds of the etag that a clause gives. */
static SeekOp
match_etag(Node *clause, RelOptInfo *rel, const DocTable *table, Node **operand)
{
	if (table->etag == 0)
		return 0;
	if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		OpExpr *expr = (OpExpr *) clause;

		return match_etag_operator(expr->opno, linitial(expr->args), lsecond(expr->args), rel, table, operand);
	}
	if (IsA(clause, RowCompareExpr))
	{
		RowCompareExpr *expr = (RowCompareExpr *) clause;
		SeekOp op = match_etag_operator(linitial_oid(expr->opnos), linitial(expr->largs), linitial(expr->rargs), rel, table, operand);

		return op == SEEK_ETAG_GT ? SEEK_ETAG_GE : op == SEEK_ETAG_LT ? SEEK_ETAG_LE
																	  : op;
	}
	if (IsA(clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *expr = (ScalarArrayOpExpr *) clause;

		*operand = lsecond(expr->args);
		if (expr->useOr && is_column(linitial(expr->args), rel, table->etag) &&
			etag_seek(expr->opno, false) == SEEK_ETAG_EQ &&
			(exprType(*operand) == INT8ARRAYOID || exprType(*operand) == INT4ARRAYOID || exprType(*operand) == INT2ARRAYOID))
			return SEEK_ETAG_ANY;
	}
	return 0;
}

/* The seek of "id op operand"; flip for "operand op id". */
static SeekOp
operator_seek(Oid opno, Oid collation, bool flip)
{
	bool bytewise = OidIsValid(collation) && docstore_collation_is_c(collation);
	bool deterministic = OidIsValid(collation) && get_collation_isdeterministic(collation);

	switch (opno)
	{
		case TextEqualOperator:
			return deterministic ? SEEK_EQ : 0;
		case TextLessOperator:
			return bytewise ? (flip ? SEEK_GT : SEEK_LT) : 0;
		case TEXT_LESS_EQUAL_OPERATOR:
			return bytewise ? (flip ? SEEK_GE : SEEK_LE) : 0;
		case TEXT_GREATER_OPERATOR:
			return bytewise ? (flip ? SEEK_LT : SEEK_GT) : 0;
		case TextGreaterEqualOperator:
			return bytewise ? (flip ? SEEK_LE : SEEK_GE) : 0;
		case TextPatternLessOperator:
			return flip ? SEEK_GT : SEEK_LT;
		case TEXT_PATTERN_LESS_EQUAL_OPERATOR:
			return flip ? SEEK_GE : SEEK_LE;
		case TEXT_PATTERN_GREATER_OPERATOR:
			return flip ? SEEK_LT : SEEK_GT;
		case TextPatternGreaterEqualOperator:
			return flip ? SEEK_LE : SEEK_GE;
		case OID_TEXT_LIKE_OP:
			return deterministic && !flip ? SEEK_LIKE : 0;
		case TextPrefixOperator:
			return deterministic && !flip ? SEEK_PREFIX : 0;
		default:
			return 0;
	}
}

/* What the first columns of a row comparison say. */
static SeekOp
row_seek(SeekOp op)
{
	switch (op)
	{
		case SEEK_GT:
		case SEEK_GE:
			return SEEK_FROM;
		case SEEK_LT:
		case SEEK_LE:
			return SEEK_UPTO;
		default:
			return 0;
	}
}

Seek *
doc_seek_match(PlannerInfo *root, RelOptInfo *rel, const DocTable *table, RestrictInfo *rinfo)
{
	Node *clause = (Node *) rinfo->clause;
	Node *operand = NULL;
	SeekOp op = 0;
	Seek *seek;

	if (rinfo->pseudoconstant)
		return NULL;

	op = match_etag(clause, rel, table, &operand);
	if (op != 0 || table->id == 0)
		;
	else if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		OpExpr *expr = (OpExpr *) clause;
		Node *left = linitial(expr->args);
		Node *right = lsecond(expr->args);

		if (is_id(left, rel, table))
		{
			op = operator_seek(expr->opno, expr->inputcollid, false);
			operand = right;
		}
		else if (is_id(right, rel, table))
		{
			op = operator_seek(expr->opno, expr->inputcollid, true);
			operand = left;
		}
	}
	else if (IsA(clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *expr = (ScalarArrayOpExpr *) clause;

		if (expr->useOr && expr->opno == TextEqualOperator && is_id(linitial(expr->args), rel, table) &&
			get_collation_isdeterministic(expr->inputcollid))
		{
			op = SEEK_ANY;
			operand = lsecond(expr->args);
		}
	}
	else if (IsA(clause, FuncExpr))
	{
		FuncExpr *expr = (FuncExpr *) clause;

		if (expr->funcid == F_STARTS_WITH && is_id(linitial(expr->args), rel, table) &&
			get_collation_isdeterministic(expr->inputcollid))
		{
			op = SEEK_PREFIX;
			operand = lsecond(expr->args);
		}
	}
	else if (IsA(clause, RowCompareExpr))
	{
		RowCompareExpr *expr = (RowCompareExpr *) clause;
		Node *left = linitial(expr->largs);
		Node *right = linitial(expr->rargs);

		if (is_id(left, rel, table))
		{
			op = row_seek(operator_seek(linitial_oid(expr->opnos), linitial_oid(expr->inputcollids), false));
			operand = right;
		}
		else if (is_id(right, rel, table))
		{
			op = row_seek(operator_seek(linitial_oid(expr->opnos), linitial_oid(expr->inputcollids), true));
			operand = left;
		}
	}
	else if (IsA(clause, NullTest))
	{
		NullTest *test = (NullTest *) clause;

		if (test->nulltesttype == IS_NULL && is_id((Node *) test->arg, rel, table))
		{
			op = SEEK_EQ;
			operand = (Node *) makeNullConst(TEXTOID, -1, table->id_collation);
		}
	}
	if (op == 0 || !is_operand(root, operand, rel))
		return NULL;

	seek = palloc(sizeof(Seek));
	seek->op = op;
	seek->operand = (Expr *) operand;
	seek->rinfo = rinfo;
	return seek;
}

List *
doc_seek_choose(PlannerInfo *root, RelOptInfo *rel, const DocTable *table, List *rinfos)
{
	List *bounds = NIL;
	Seek *any = NULL;
	ListCell *lc;

	foreach (lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Seek *seek = doc_seek_match(root, rel, table, rinfo);

		/* What a security barrier keeps for later must not be tried first, unless it gives nothing away. */
		if (seek == NULL || !restriction_is_securely_promotable(rinfo, rel))
			continue;
		if (seek->op == SEEK_EQ)
			return list_make1(seek);
		if (seek->op == SEEK_ANY)
			any = any == NULL ? seek : any;
		else
			bounds = lappend(bounds, seek);
	}
	return any != NULL ? list_make1(any) : bounds;
}

const char *
doc_seek_text(SeekOp op)
{
	switch (op)
	{
		case SEEK_EQ:
			return "id = ";
		case SEEK_ANY:
			return "id = ANY ";
		case SEEK_LT:
			return "id < ";
		case SEEK_LE:
		case SEEK_UPTO:
			return "id <= ";
		case SEEK_GT:
			return "id > ";
		case SEEK_GE:
		case SEEK_FROM:
			return "id >= ";
		case SEEK_LIKE:
			return "id ~~ ";
		case SEEK_PREFIX:
			return "id ^@ ";
		case SEEK_ETAG_EQ:
			return "etag = ";
		case SEEK_ETAG_ANY:
			return "etag = ANY ";
		case SEEK_ETAG_LT:
			return "etag < ";
		case SEEK_ETAG_LE:
			return "etag <= ";
		case SEEK_ETAG_GT:
			return "etag > ";
		case SEEK_ETAG_GE:
			return "etag >= ";
	}
	return "";
}

/* ---- when a scan starts ---- */

/* An id too long to be stored is still good as a bound, so bounds are made without document_key_init. */
static LsmSlice
bound(uint64 storage, const char *id, size_t len, bool behind)
{
	char *data = palloc(DOCSTORE_KEY_PREFIX + len + 1);

	docstore_key_prefix(data, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, storage);
	memcpy(data + DOCSTORE_KEY_PREFIX, id, len);
	/* The first key behind an id is the id and a zero byte. */
	data[DOCSTORE_KEY_PREFIX + len] = '\0';
	return lsm_slice(data, DOCSTORE_KEY_PREFIX + len + (behind ? 1 : 0));
}

static void
raise_lower(SeekRange *range, LsmSlice key)
{
	if (lsm_slice_compare(key, range->lower) > 0)
		range->lower = key;
}

static void
cut_upper(SeekRange *range, LsmSlice key)
{
	if (lsm_slice_compare(key, range->upper) < 0)
		range->upper = key;
}

static void
bound_prefix(SeekRange *range, uint64 storage, const char *prefix, size_t len)
{
	LsmSlice end;
	char *data;

	raise_lower(range, bound(storage, prefix, len, false));

	/* The end: the last byte that can be raised is, what follows it is cut off. */
	end = bound(storage, prefix, len, false);
	data = (char *) end.data;
	while (end.len > DOCSTORE_KEY_PREFIX && (unsigned char) data[end.len - 1] == 0xff)
		end.len--;
	if (end.len == DOCSTORE_KEY_PREFIX)
		return;
	data[end.len - 1]++;
	cut_upper(range, end);
}

size_t
doc_like_prefix(const char *pattern, size_t len, char *prefix, bool *exact)
{
	size_t n = 0;

	*exact = false;
	for (size_t i = 0; i < len; i++)
	{
		if (pattern[i] == '%' || pattern[i] == '_')
			return n;
		/* A pattern that ends in its escape is an error; LIKE itself will say so. */
		if (pattern[i] == '\\' && ++i >= len)
			return n;
		prefix[n++] = pattern[i];
	}
	*exact = true;
	return n;
}

static int
compare_keys(const void *a, const void *b)
{
	return lsm_slice_compare(document_key_slice(*(DocumentKey *const *) a), document_key_slice(*(DocumentKey *const *) b));
}

static void
add_point(SeekRange *range, uint64 storage, Datum datum)
{
	text *id = DatumGetTextPP(datum);
	size_t len = VARSIZE_ANY_EXHDR(id);
	DocumentKey *key;

	/* No document has such an id. */
	if (len == 0 || len > DOCSTORE_MAX_ID)
		return;
	key = palloc(offsetof(DocumentKey, data) + DOCSTORE_KEY_PREFIX + len);
	document_key_init(key, storage, VARDATA_ANY(id), len);
	range->keys[range->nkeys++] = key;
}

static void
raise_etag(SeekRange *range, int64 etag)
{
	if (etag > 0 && (uint64) etag > range->etags.min)
		range->etags.min = (uint64) etag;
}

static void
cut_etag(SeekRange *range, int64 etag)
{
	/* Each document has one above 0. */
	if (etag <= 0)
		range->nothing = true;
	else if ((uint64) etag < range->etags.max)
		range->etags.max = (uint64) etag;
}

static int64
array_element(Oid type, Datum element)
{
	return type == INT8OID ? DatumGetInt64(element) : type == INT4OID ? DatumGetInt32(element)
																	  : DatumGetInt16(element);
}

/* The lowest and the highest of an array; there is none if it has no elements but nulls. */
static void
bound_etag_by_any(SeekRange *range, Datum datum)
{
	ArrayType *array = DatumGetArrayTypeP(datum);
	Oid type = ARR_ELEMTYPE(array);
	Datum *elements;
	bool *nulls;
	int64 lowest = PG_INT64_MAX;
	int64 highest = PG_INT64_MIN;
	int16 len;
	bool by_value;
	char align;
	int n;

	get_typlenbyvalalign(type, &len, &by_value, &align);
	deconstruct_array(array, type, len, by_value, align, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
		{
			lowest = Min(lowest, array_element(type, elements[i]));
			highest = Max(highest, array_element(type, elements[i]));
		}
	raise_etag(range, lowest);
	cut_etag(range, highest);
}

void
doc_seek_range(uint64 storage, const SeekOp *ops, int nops, const Datum *values, const bool *nulls, SeekRange *range)
{
	char *end = palloc(DOCSTORE_KEY_PREFIX);

	memset(range, 0, sizeof(*range));
	docstore_key_prefix_end(end, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, storage);
	range->lower = bound(storage, "", 0, false);
	range->upper = lsm_slice(end, DOCSTORE_KEY_PREFIX);
	range->etags = LSM_ALL_SEQS;

	for (int i = 0; i < nops; i++)
	{
		const char *data = NULL;
		size_t len = 0;

		/* All the operators are strict. */
		if (nulls[i])
		{
			range->nothing = true;
			return;
		}
		if (ops[i] != SEEK_ANY && !doc_seek_is_etag(ops[i]))
		{
			text *value = DatumGetTextPP(values[i]);

			data = VARDATA_ANY(value);
			len = VARSIZE_ANY_EXHDR(value);
		}
		switch (ops[i])
		{
			case SEEK_EQ:
				range->points = true;
				range->keys = palloc(sizeof(DocumentKey *));
				add_point(range, storage, values[i]);
				return;
			case SEEK_ANY:
			{
				Datum *elements;
				bool *element_nulls;
				int n;
				int unique = 0;

				deconstruct_array(DatumGetArrayTypeP(values[i]), TEXTOID, -1, false, TYPALIGN_INT, &elements, &element_nulls,
								  &n);
				range->points = true;
				range->keys = palloc(Max(n, 1) * sizeof(DocumentKey *));
				for (int j = 0; j < n; j++)
					if (!element_nulls[j])
						add_point(range, storage, elements[j]);
				if (range->nkeys > 0)
				{
					qsort(range->keys, range->nkeys, sizeof(DocumentKey *), compare_keys);
					for (int j = 1; j < range->nkeys; j++)
						if (compare_keys(&range->keys[unique], &range->keys[j]) != 0)
							range->keys[++unique] = range->keys[j];
					range->nkeys = unique + 1;
				}
				return;
			}
			case SEEK_LT:
				cut_upper(range, bound(storage, data, len, false));
				break;
			case SEEK_LE:
			case SEEK_UPTO:
				cut_upper(range, bound(storage, data, len, true));
				break;
			case SEEK_GT:
				raise_lower(range, bound(storage, data, len, true));
				break;
			case SEEK_GE:
			case SEEK_FROM:
				raise_lower(range, bound(storage, data, len, false));
				break;
			case SEEK_PREFIX:
				bound_prefix(range, storage, data, len);
				break;
			case SEEK_LIKE:
			{
				char *prefix = palloc(len + 1);
				bool exact;

				len = doc_like_prefix(data, len, prefix, &exact);
				if (exact)
				{
					raise_lower(range, bound(storage, prefix, len, false));
					cut_upper(range, bound(storage, prefix, len, true));
				}
				else
					bound_prefix(range, storage, prefix, len);
				break;
			}
			case SEEK_ETAG_EQ:
				raise_etag(range, DatumGetInt64(values[i]));
				cut_etag(range, DatumGetInt64(values[i]));
				break;
			case SEEK_ETAG_GE:
				raise_etag(range, DatumGetInt64(values[i]));
				break;
			case SEEK_ETAG_LE:
				cut_etag(range, DatumGetInt64(values[i]));
				break;
			case SEEK_ETAG_LT:
				if (DatumGetInt64(values[i]) == PG_INT64_MIN)
					range->nothing = true;
				else
					cut_etag(range, DatumGetInt64(values[i]) - 1);
				break;
			case SEEK_ETAG_GT:
				if (DatumGetInt64(values[i]) == PG_INT64_MAX)
					range->nothing = true;
				else
					raise_etag(range, DatumGetInt64(values[i]) + 1);
				break;
			case SEEK_ETAG_ANY:
				bound_etag_by_any(range, values[i]);
				break;
		}
	}
	if (lsm_slice_compare(range->lower, range->upper) >= 0 || range->etags.min > range->etags.max)
		range->nothing = true;
}
