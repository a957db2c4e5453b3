/*
 * seek.c - conditions on a view's key as positions (seek.h).
 *
 * An operator counts if it belongs to the btree operator family of the column's
 * type and its other side's values are encoded comparably (key.h).  Text is
 * ordered bytewise, so its inequalities count under such a collation only;
 * equality under any deterministic one.
 */
#include "postgres.h"

#include "view/seek.h"

#include "access/stratnum.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "fdw/seek.h"
#include "store/compat.h"
#include "store/store.h"

Var *
view_key_var(RelOptInfo *rel, const ViewTable *table, Relation relation, int column)
{
	AttrNumber attribute = view_table_attribute(table, table->view->shape->key_attribute[column] - 1);
	Form_pg_attribute att;

	if (attribute == 0)
		return NULL;
	att = TupleDescAttr(RelationGetDescr(relation), attribute - 1);
	return makeVar(rel->relid, attribute, att->atttypid, att->atttypmod, att->attcollation, 0);
}

bool
view_is_key(Node *node, RelOptInfo *rel, const ViewTable *table, int column)
{
	AttrNumber attribute = view_table_attribute(table, table->view->shape->key_attribute[column] - 1);

	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return attribute != 0 && node != NULL && IsA(node, Var) && ((Var *) node)->varno == rel->relid &&
		   ((Var *) node)->varattno == attribute && ((Var *) node)->varlevelsup == 0;
}

static bool
is_operand(PlannerInfo *root, Node *node, RelOptInfo *rel)
{
	return !bms_is_member(rel->relid, pull_varnos(root, node)) && !contain_volatile_functions(node) &&
		   !contain_subplans(node);
}

/* The seek of "column op value"; 0 if it is none. */
static ViewSeekOp
operator_seek(const ViewKeyColumn *key, Oid opno, Oid collation, Oid type)
{
	ViewKeyKind kind = view_key_kind(key->type);
	Oid family = get_opclass_family(GetDefaultOpClass(key->type, BTREE_AM_OID));
	int strategy = get_op_opfamily_strategy(opno, family);

	if (strategy == 0 || view_key_kind(type) != kind)
		return 0;
	/* A timestamp and a timestamp with time zone are encoded alike, but do not compare so. */
	if (kind == VIEW_KEY_TIMESTAMP && getBaseType(type) != key->type)
		return 0;
	if (OidIsValid(collation))
	{
		if (strategy == BTEqualStrategyNumber ? !get_collation_isdeterministic(collation)
											  : !docstore_collation_is_c(collation))
			return 0;
	}
	switch (strategy)
	{
		case BTLessStrategyNumber:
			return VIEW_SEEK_LT;
		case BTLessEqualStrategyNumber:
			return VIEW_SEEK_LE;
		case BTEqualStrategyNumber:
			return VIEW_SEEK_EQ;
		case BTGreaterEqualStrategyNumber:
			return VIEW_SEEK_GE;
		case BTGreaterStrategyNumber:
			return VIEW_SEEK_GT;
		default:
			return 0;
	}
}

static ViewSeek *
new_seek(int column, ViewSeekOp op, Node *operand, Oid type, RestrictInfo *rinfo)
{
	ViewSeek *seek = palloc(sizeof(ViewSeek));

	seek->column = column;
	seek->op = op;
	seek->operand = operand != NULL ? (Expr *) operand : (Expr *) makeNullConst(type, -1, InvalidOid);
	seek->type = getBaseType(type);
	seek->rinfo = rinfo;
	seek->exact = op != VIEW_SEEK_LIKE;
	return seek;
}

ViewSeek *
view_seek_match(PlannerInfo *root, RelOptInfo *rel, const ViewTable *table, int column, RestrictInfo *rinfo)
{
	const ViewKeyColumn *key = &table->view->shape->key[column];
	Node *clause = (Node *) rinfo->clause;

	if (rinfo->pseudoconstant)
		return NULL;
	if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		OpExpr *expr = (OpExpr *) clause;
		Node *left = linitial(expr->args);
		Node *right = lsecond(expr->args);
		Oid opno = expr->opno;
		Node *operand = NULL;
		ViewSeekOp op;

		if (view_is_key(left, rel, table, column))
			operand = right;
		else if (view_is_key(right, rel, table, column))
		{
			operand = left;
			opno = get_commutator(opno);
		}
		if (operand == NULL || !OidIsValid(opno) || !is_operand(root, operand, rel))
			return NULL;
		op = operator_seek(key, opno, expr->inputcollid, exprType(operand));
		if (operand == right && view_key_kind(key->type) == VIEW_KEY_TEXT && OidIsValid(expr->inputcollid) &&
			get_collation_isdeterministic(expr->inputcollid))
		{
			if (opno == OID_TEXT_LIKE_OP)
				op = VIEW_SEEK_LIKE;
			else if (opno == TextPrefixOperator)
				op = VIEW_SEEK_PREFIX;
		}
		return op != 0 ? new_seek(column, op, operand, exprType(operand), rinfo) : NULL;
	}
	if (IsA(clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *expr = (ScalarArrayOpExpr *) clause;
		Node *operand = lsecond(expr->args);
		Oid element = get_base_element_type(exprType(operand));

		if (!expr->useOr || !OidIsValid(element) || !view_is_key(linitial(expr->args), rel, table, column) ||
			!is_operand(root, operand, rel) ||
			operator_seek(key, expr->opno, expr->inputcollid, element) != VIEW_SEEK_EQ)
			return NULL;
		return new_seek(column, VIEW_SEEK_ANY, operand, element, rinfo);
	}
	if (IsA(clause, RowCompareExpr))
	{
		/* (a, b) > (x, y) begins at a >= x. */
		RowCompareExpr *expr = (RowCompareExpr *) clause;
		Node *operand = linitial(expr->rargs);
		int comparison = (int) docstore_row_comparison(expr);
		bool less = comparison == DOCSTORE_ROW_LT || comparison == DOCSTORE_ROW_LE;
		ViewSeekOp op;
		ViewSeek *seek;

		if (!view_is_key(linitial(expr->largs), rel, table, column) || !is_operand(root, operand, rel))
			return NULL;
		op = operator_seek(key, linitial_oid(expr->opnos), linitial_oid(expr->inputcollids), exprType(operand));
		if (op == 0 || (!less && comparison != DOCSTORE_ROW_GT && comparison != DOCSTORE_ROW_GE))
			return NULL;
		seek = new_seek(column, less ? VIEW_SEEK_LE : VIEW_SEEK_GE, operand, exprType(operand), rinfo);
		seek->exact = false;
		return seek;
	}
	if (IsA(clause, NullTest) && !((NullTest *) clause)->argisrow &&
		view_is_key((Node *) ((NullTest *) clause)->arg, rel, table, column))
		return new_seek(column, ((NullTest *) clause)->nulltesttype == IS_NULL ? VIEW_SEEK_NULL : VIEW_SEEK_NOT_NULL, NULL,
						key->type, rinfo);
	if (key->type == BOOLOID)
	{
		if (view_is_key(clause, rel, table, column))
			return new_seek(column, VIEW_SEEK_EQ, makeBoolConst(true, false), BOOLOID, rinfo);
		if (is_notclause(clause) && view_is_key((Node *) get_notclausearg((Expr *) clause), rel, table, column))
			return new_seek(column, VIEW_SEEK_EQ, makeBoolConst(false, false), BOOLOID, rinfo);
	}
	return NULL;
}

List *
view_seek_choose(PlannerInfo *root, RelOptInfo *rel, const ViewTable *table, List *rinfos)
{
	List *chosen = NIL;
	bool any_used = false;

	for (int column = 0; column <= table->view->shape->nkeys; column++)
	{
		ViewSeek *equal = NULL;
		ViewSeek *any = NULL;
		List *bounds = NIL;
		ListCell *lc;

		foreach (lc, rinfos)
		{
			RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
			ViewSeek *seek = view_seek_match(root, rel, table, column, rinfo);

			/* What a security barrier keeps for later must not be tried first, unless it gives nothing away. */
			if (seek == NULL || !restriction_is_securely_promotable(rinfo, rel))
				continue;
			if (seek->op == VIEW_SEEK_EQ || seek->op == VIEW_SEEK_NULL)
				equal = equal == NULL ? seek : equal;
			else if (seek->op == VIEW_SEEK_ANY)
				any = any == NULL ? seek : any;
			else
				bounds = lappend(bounds, seek);
		}
		if (equal != NULL)
			chosen = lappend(chosen, equal);
		else if (any != NULL && !any_used)
		{
			chosen = lappend(chosen, any);
			any_used = true;
		}
		else
			return list_concat(chosen, bounds);
	}
	return chosen;
}

/* ---- when a scan starts ---- */

typedef struct Builder
{
	const View *view;
	int nseeks;
	const int *columns;
	const ViewSeekOp *ops;
	const Oid *types;
	const Datum *values;
	const bool *nulls;
	ViewRange *ranges;
	int nranges;
	int size;
} Builder;

static void
copy_buffer(StringInfo to, const StringInfoData *from)
{
	initStringInfo(to);
	appendBinaryStringInfo(to, from->data, from->len);
}

static LsmSlice
buffer_slice(const StringInfoData *buffer)
{
	return lsm_slice(buffer->data, buffer->len);
}

static void
add_range(Builder *builder, LsmSlice lower, LsmSlice upper, bool point)
{
	if (lsm_slice_compare(lower, upper) >= 0)
		return;
	if (builder->nranges == builder->size)
	{
		builder->size = builder->size == 0 ? 4 : builder->size * 2;
		builder->ranges = builder->ranges == NULL ? palloc(builder->size * sizeof(ViewRange))
												  : repalloc(builder->ranges, builder->size * sizeof(ViewRange));
	}
	builder->ranges[builder->nranges].lower = lower;
	builder->ranges[builder->nranges].upper = upper;
	builder->ranges[builder->nranges].point = point;
	builder->nranges++;
}

/* Everything that begins with prefix, to which all seeks are equalities.  Groups have no more in their keys than their columns. */
static void
add_prefix(Builder *builder, const StringInfoData *prefix)
{
	StringInfoData end;

	copy_buffer(&end, prefix);
	if (!view_key_behind(&end))
		elog(ERROR, "a view's keys have no end");
	add_range(builder, buffer_slice(prefix), buffer_slice(&end),
			  builder->view->reduce != NULL && builder->nseeks == builder->view->shape->nkeys);
}

static void
raise_lower(LsmSlice *lower, LsmSlice bound)
{
	if (lsm_slice_compare(bound, *lower) > 0)
		*lower = bound;
}

static void
cut_upper(LsmSlice *upper, LsmSlice bound)
{
	if (lsm_slice_compare(bound, *upper) < 0)
		*upper = bound;
}

/* Texts that begin with a text, or with what a LIKE pattern begins with. */
static void
bound_text(const StringInfoData *prefix, const ViewKeyColumn *key, bool like, Datum value, LsmSlice *lower, LsmSlice *upper)
{
	text *t = DatumGetTextPP(value);
	const char *data = VARDATA_ANY(t);
	size_t len = VARSIZE_ANY_EXHDR(t);
	StringInfoData start;
	StringInfoData end;
	bool exact;

	if (like)
	{
		char *fixed = palloc(len + 1);

		len = doc_like_prefix(data, len, fixed, &exact);
		data = fixed;
	}
	copy_buffer(&start, prefix);
	view_key_append_text_start(&start, key, data, len);
	copy_buffer(&end, &start);
	(void) view_key_behind(&end);
	raise_lower(lower, buffer_slice(&start));
	cut_upper(upper, buffer_slice(&end));
}

/* The bounds from seek `first` on, all of one column. */
static void
add_bounded(Builder *builder, const StringInfoData *prefix, int first)
{
	int column = builder->columns[first];
	ViewKeyColumn key = builder->view->shape->key[column];
	StringInfoData start;
	StringInfoData end;
	LsmSlice lower;
	LsmSlice upper;

	/* No comparison is true of NULL. */
	copy_buffer(&start, prefix);
	view_key_append_not_null(&start, &key);
	copy_buffer(&end, &start);
	(void) view_key_behind(&end);
	lower = buffer_slice(&start);
	upper = buffer_slice(&end);

	for (int i = first; i < builder->nseeks; i++)
	{
		ViewSeekOp op = builder->ops[i];
		StringInfoData bound;
		bool is_lower;
		bool behind;

		if (op == VIEW_SEEK_NOT_NULL)
			continue;
		if (builder->nulls[i])
			return;
		if (op == VIEW_SEEK_PREFIX || op == VIEW_SEEK_LIKE)
		{
			bound_text(prefix, &key, op == VIEW_SEEK_LIKE, builder->values[i], &lower, &upper);
			continue;
		}
		key.type = builder->types[i];
		copy_buffer(&bound, prefix);
		view_key_append(&bound, &key, builder->values[i], false);
		/* In a descending column the greater values come first. */
		is_lower = (op == VIEW_SEEK_GT || op == VIEW_SEEK_GE) != key.descending;
		behind = is_lower ? (op == VIEW_SEEK_GT || op == VIEW_SEEK_LT) : (op == VIEW_SEEK_GE || op == VIEW_SEEK_LE);
		if (behind)
			(void) view_key_behind(&bound);
		if (is_lower)
			raise_lower(&lower, buffer_slice(&bound));
		else
			cut_upper(&upper, buffer_slice(&bound));
	}
	add_range(builder, lower, upper, false);
}

static void add_ranges(Builder *builder, const StringInfoData *prefix, int seek);

static int
compare_buffers(const void *a, const void *b)
{
	return lsm_slice_compare(buffer_slice(a), buffer_slice(b));
}

/* One range for each of an array's elements, in the order of the keys, each once. */
static void
add_array(Builder *builder, const StringInfoData *prefix, int seek)
{
	ArrayType *array = DatumGetArrayTypeP(builder->values[seek]);
	ViewKeyColumn key = builder->view->shape->key[builder->columns[seek]];
	StringInfoData *prefixes;
	Datum *elements;
	bool *nulls;
	int16 length;
	bool by_value;
	char align;
	int count;
	int n = 0;

	key.type = builder->types[seek];
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, align, &elements, &nulls, &count);
	prefixes = palloc(Max(count, 1) * sizeof(StringInfoData));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			continue;
		copy_buffer(&prefixes[n], prefix);
		view_key_append(&prefixes[n++], &key, elements[i], false);
	}
	qsort(prefixes, n, sizeof(StringInfoData), compare_buffers);
	for (int i = 0; i < n; i++)
		if (i == 0 || compare_buffers(&prefixes[i - 1], &prefixes[i]) != 0)
			add_ranges(builder, &prefixes[i], seek + 1);
}

static void
add_ranges(Builder *builder, const StringInfoData *prefix, int seek)
{
	ViewKeyColumn key;
	StringInfoData longer;

	if (seek == builder->nseeks)
	{
		add_prefix(builder, prefix);
		return;
	}
	key = builder->view->shape->key[builder->columns[seek]];
	switch (builder->ops[seek])
	{
		case VIEW_SEEK_NULL:
			copy_buffer(&longer, prefix);
			view_key_append(&longer, &key, (Datum) 0, true);
			add_ranges(builder, &longer, seek + 1);
			break;
		case VIEW_SEEK_EQ:
			if (builder->nulls[seek])
				return;
			key.type = builder->types[seek];
			copy_buffer(&longer, prefix);
			view_key_append(&longer, &key, builder->values[seek], false);
			add_ranges(builder, &longer, seek + 1);
			break;
		case VIEW_SEEK_ANY:
			if (!builder->nulls[seek])
				add_array(builder, prefix, seek);
			break;
		default:
			add_bounded(builder, prefix, seek);
	}
}

ViewRange *
view_seek_ranges(const View *view, int nseeks, const int *columns, const ViewSeekOp *ops, const Oid *types,
				 const Datum *values, const bool *nulls, int *nranges)
{
	Builder builder = {view, nseeks, columns, ops, types, values, nulls, NULL, 0, 0};
	char start[DOCSTORE_KEY_PREFIX];
	StringInfoData prefix;

	docstore_key_prefix(start, DOCSTORE_KEY_VIEW, MyDatabaseId, view->results);
	initStringInfo(&prefix);
	appendBinaryStringInfo(&prefix, start, sizeof(start));
	add_ranges(&builder, &prefix, 0);
	*nranges = builder.nranges;
	return builder.ranges;
}
