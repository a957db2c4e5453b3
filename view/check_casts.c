/*
 * check_casts.c - a cast in a reduce must not change what was reduced before (check_casts.h).
 *
 * What a reduce returns goes through its casts once more for each level of the
 * tree.  sum(x)::int of numerics would be rounded in each block, and
 * coalesce(max(x), 0) of a block without values would be taken for a value.  So
 * around a sum only casts are allowed that change no value (or raise an
 * error); other aggregates return values that they were given, and bear
 * whatever keeps the order and does the same when it is done again.  A cast
 * within the argument has to do the latter only.
 */
#include "postgres.h"

#include "view/check_casts.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"

typedef enum Kind
{
	OTHER,
	NUMBER,
	TEXT,
	MOMENT,
	BOOL
} Kind;

static Kind
kind_of(const Node *node)
{
	switch (getBaseType(exprType(node)))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return NUMBER;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
			return TEXT;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return MOMENT;
		case BOOLOID:
			return BOOL;
		default:
			return OTHER;
	}
}

static bool
is_integer(const Node *node)
{
	Oid type = getBaseType(exprType(node));

	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
is_float(const Node *node)
{
	Oid type = getBaseType(exprType(node));

	return type == FLOAT4OID || type == FLOAT8OID;
}

Node *
view_cast_argument(Node *node)
{
	if (IsA(node, RelabelType))
		return (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, CoerceViaIO))
		return (Node *) ((CoerceViaIO *) node)->arg;
	if (IsA(node, CoerceToDomain))
		return (Node *) ((CoerceToDomain *) node)->arg;
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->args != NIL &&
		(((FuncExpr *) node)->funcformat == COERCE_EXPLICIT_CAST || ((FuncExpr *) node)->funcformat == COERCE_IMPLICIT_CAST))
		return linitial(((FuncExpr *) node)->args);
	if (IsA(node, CoalesceExpr) && list_length(((CoalesceExpr *) node)->args) == 2 &&
		!contain_var_clause(lsecond(((CoalesceExpr *) node)->args)))
		return linitial(((CoalesceExpr *) node)->args);
	return NULL;
}

/* Is it a whole number, whatever its type? */
static bool
is_whole(const Node *node)
{
	Node *argument = view_cast_argument((Node *) node);

	if (is_integer(node))
		return true;
	return kind_of(node) == NUMBER && !is_float(node) && !IsA(node, CoalesceExpr) && argument != NULL && is_whole(argument);
}

/* What a block without values returns must not count among other blocks' values. */
static bool
is_neutral(Node *constant, const char *aggregate)
{
	Const *value = (Const *) eval_const_expressions(NULL, constant);
	bool varlena;
	Oid output;
	char *text;

	if (!IsA(value, Const))
		return false;
	if (value->constisnull)
		return true;
	getTypeOutputInfo(value->consttype, &output, &varlena);
	text = OidOutputFunctionCall(output, value->constvalue);
	if (strcmp(aggregate, "bool_and") == 0 || strcmp(aggregate, "every") == 0)
		return strcmp(text, "t") == 0;
	if (strcmp(aggregate, "bool_or") == 0)
		return strcmp(text, "f") == 0;
	if (strcmp(aggregate, "sum") == 0 || strcmp(aggregate, "bit_or") == 0 || strcmp(aggregate, "bit_xor") == 0)
		return (kind_of((Node *) value) == NUMBER && strtod(text, NULL) == 0) || strcmp(text, "00:00:00") == 0;
	return false;
}

/* numeric(p, s) and its like, applied to their own type: that is a cast, too. */
static bool
keeps_length(const Node *cast, const Node *summed)
{
	int32 to = exprTypmod(cast);
	int32 from = exprTypmod(summed);

	if (to < 0)
		return true;
	if (kind_of(cast) == NUMBER)
	{
		/* As numeric.c has it: eleven bits of scale, with its sign. */
		int scale = (((to - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;

		if (is_whole(summed))
			return scale >= 0;
		return from >= 0 && ((((from - VARHDRSZ) & 0x7ff) ^ 1024) - 1024) <= scale;
	}
	return from == to;
}

/* Of a cast around sum(summed), from a number to a number. */
static bool
keeps_number(const Node *cast, const Node *arg, const Node *summed)
{
	if (is_float(cast))
		return true;
	/* Nearly: as near as sums of floating point numbers are. */
	if (is_float(arg))
		return !is_integer(cast) && is_float(summed);
	return is_integer(cast) ? is_whole(summed) : keeps_length(cast, summed);
}

static bool
is_good_cast(const Node *cast, const Node *arg, const Node *summed, const char *aggregate, bool around)
{
	Kind kind = kind_of(cast);
	bool same_kind = kind == kind_of(arg) && (kind != OTHER || exprType(cast) == exprType(arg));

	if (IsA(cast, RelabelType) || IsA(cast, CoerceToDomain))
		return true;
	if (strcmp(aggregate, "bool_and") == 0 || strcmp(aggregate, "bool_or") == 0 || strcmp(aggregate, "every") == 0)
		return IsA(cast, FuncExpr);
	if (!same_kind || strcmp(aggregate, "sum") != 0 || !around)
		return same_kind;
	return kind == NUMBER ? keeps_number(cast, arg, summed) : keeps_length(cast, summed);
}

Node *
view_cast_fault(Node *column, const char *aggregate)
{
	Node *node = column;
	Node *summed;
	bool around = true;

	while (!IsA(node, Aggref))
		node = view_cast_argument(node);
	summed = (Node *) linitial_node(TargetEntry, ((Aggref *) node)->args)->expr;
	for (node = column; !IsA(node, Var); node = IsA(node, Aggref) ? summed : view_cast_argument(node))
	{
		if (IsA(node, Aggref))
			around = false;
		else if (IsA(node, CoalesceExpr))
		{
			if (around && !is_neutral(lsecond(((CoalesceExpr *) node)->args), aggregate))
				return node;
		}
		else if (!is_good_cast(node, view_cast_argument(node), summed, aggregate, around))
			return node;
	}
	return NULL;
}
