/*
 * moment.c - literals like 'now' and '{today}' (moment.h).
 *
 * The analyzed query has what the parser has made of a literal, the raw one the literal itself, without quotes and escapes.
 */
#include "postgres.h"

#include "view/moment.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* Does a literal of that type hold dates or times? */
static bool
has_moments(Oid type)
{
	TupleDesc desc;
	bool found = false;

	check_stack_depth();
	if (type == DATEOID || type == TIMEOID || type == TIMETZOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID)
		return true;
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			return has_moments(getBaseType(type));
		case TYPTYPE_RANGE:
			return has_moments(get_range_subtype(type));
		case TYPTYPE_MULTIRANGE:
			return has_moments(get_multirange_range(type));
		case TYPTYPE_COMPOSITE:
			desc = lookup_rowtype_tupdesc(type, -1);
			for (int i = 0; i < desc->natts; i++)
				found |= !TupleDescAttr(desc, i)->attisdropped && has_moments(TupleDescAttr(desc, i)->atttypid);
			ReleaseTupleDesc(desc);
			return found;
		default:
			return OidIsValid(get_element_type(type)) && has_moments(get_element_type(type));
	}
}

typedef struct Literal
{
	int location;
	const char *text;
} Literal;

static bool
find_literal(Node *node, void *arg)
{
	Literal *literal = arg;

	if (node == NULL)
		return false;
	if (IsA(node, A_Const) && ((A_Const *) node)->location == literal->location && !((A_Const *) node)->isnull &&
		IsA(&((A_Const *) node)->val, String))
	{
		literal->text = strVal(&((A_Const *) node)->val);
		return true;
	}
	return raw_expression_tree_walker(node, find_literal, arg);
}

bool
view_names_a_moment(const RawStmt *raw, const Const *constant)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	Literal literal = {constant->location, NULL};

	if (constant->location < 0 || !has_moments(constant->consttype) || !find_literal(raw->stmt, &literal))
		return false;
	for (const char *p = literal.text; *p != '\0'; p++)
		for (int i = 0; i < lengthof(words) && (p == literal.text || !isalpha((unsigned char) p[-1])); i++)
			if (pg_strncasecmp(p, words[i], strlen(words[i])) == 0 && !isalpha((unsigned char) p[strlen(words[i])]))
				return true;
	return false;
}
