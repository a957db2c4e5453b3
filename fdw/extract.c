/*
 * extract.c - many paths of a document at once (extract.h).
 *
 * An object of n members is, in jsonb's binary form, n keys sorted by length and
 * then bytes, and their n values in the same order.  An entry says its length,
 * every 32nd where it ends instead.
 */
#include "postgres.h"

#include "fdw/extract.h"

#include "miscadmin.h"

/* A search looks at some of an object's entries for each bit of their number, and steps back to one that says where it ends. */
#define SEARCH_COST 64

typedef struct DocWant
{
	/* name, or NULL for an array's element */
	const char *name;
	int len;
	uint32 index;
	/* the paths that end here, and where the others go on */
	int npaths;
	int *paths;
	DocWants *below;
} DocWant;

struct DocWants
{
	int nnames; /* in the order of an object's keys */
	DocWant *names;
	int nelements;
	DocWant *elements;
	int npaths; /* of the root */
};

static int
compare_keys(const char *a, int alen, const char *b, int blen)
{
	if (alen != blen)
		return alen < blen ? -1 : 1;
	/* Most keys of a length differ in their first byte. */
	if (alen > 0 && *a != *b)
		return (unsigned char) *a < (unsigned char) *b ? -1 : 1;
	return memcmp(a, b, alen);
}

static int
compare_names(const void *a, const void *b)
{
	const DocWant *x = a;
	const DocWant *y = b;

	return compare_keys(x->name, x->len, y->name, y->len);
}

/* ---- the tree ---- */

static DocWant *
find_or_add(DocWants *wants, const DocPathStep *step, int room)
{
	DocWant **list = step->name != NULL ? &wants->names : &wants->elements;
	int *n = step->name != NULL ? &wants->nnames : &wants->nelements;
	DocWant *want;

	for (int i = 0; i < *n; i++)
	{
		want = &(*list)[i];
		if (step->name != NULL ? compare_keys(want->name, want->len, step->name, step->len) == 0 : want->index == step->index)
			return want;
	}
	if (*list == NULL)
		*list = palloc(room * sizeof(DocWant));
	want = &(*list)[(*n)++];
	memset(want, 0, sizeof(*want));
	want->name = step->name;
	want->len = step->len;
	want->index = step->index;
	want->paths = palloc(room * sizeof(int));
	return want;
}

static void
sort_names(DocWants *wants)
{
	check_stack_depth();
	if (wants->nnames > 0)
		qsort(wants->names, wants->nnames, sizeof(DocWant), compare_names);
	for (int i = 0; i < wants->nnames; i++)
		if (wants->names[i].below != NULL)
			sort_names(wants->names[i].below);
	for (int i = 0; i < wants->nelements; i++)
		if (wants->elements[i].below != NULL)
			sort_names(wants->elements[i].below);
}

DocWants *
doc_wants_new(int npaths, DocPath *const *paths)
{
	DocWants *root;

	if (npaths == 0)
		return NULL;
	root = palloc0(sizeof(DocWants));
	root->npaths = npaths;
	for (int i = 0; i < npaths; i++)
	{
		DocWants *at = root;

		for (int j = 0; j < paths[i]->nsteps; j++)
		{
			DocWant *want = find_or_add(at, &paths[i]->steps[j], npaths);

			if (j == paths[i]->nsteps - 1)
				want->paths[want->npaths++] = i;
			else
			{
				if (want->below == NULL)
					want->below = palloc0(sizeof(DocWants));
				at = want->below;
			}
		}
	}
	sort_names(root);
	return root;
}

/* ---- a document ---- */

static void get_in(const DocWants *wants, JsonbContainer *container, JsonbValue *values);

/* As getJsonbOffset, but inline. */
static inline uint32
entry_offset(const JsonbContainer *container, int index)
{
	uint32 offset = 0;

	while (--index >= 0)
	{
		offset += JBE_OFFLENFLD(container->children[index]);
		if (JBE_HAS_OFF(container->children[index]))
			break;
	}
	return offset;
}

/* The value of entry `index`, whose bytes begin at base + offset. */
static inline void
entry_value(JsonbContainer *container, int index, char *base, uint32 offset, JsonbValue *value)
{
	JEntry entry = container->children[index];
	uint32 len = JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) - offset : JBE_OFFLENFLD(entry);

	if (JBE_ISNULL(entry))
		value->type = jbvNull;
	else if (JBE_ISSTRING(entry))
	{
		value->type = jbvString;
		value->val.string.val = base + offset;
		value->val.string.len = (int) len;
	}
	else if (JBE_ISNUMERIC(entry))
	{
		value->type = jbvNumeric;
		value->val.numeric = (Numeric) (base + INTALIGN(offset));
	}
	else if (JBE_ISBOOL_TRUE(entry) || JBE_ISBOOL_FALSE(entry))
	{
		value->type = jbvBool;
		value->val.boolean = JBE_ISBOOL_TRUE(entry);
	}
	else
	{
		value->type = jbvBinary;
		value->val.binary.data = (JsonbContainer *) (base + INTALIGN(offset));
		/* What an entry is longer by for alignment lies before it. */
		value->val.binary.len = (int) (len - (INTALIGN(offset) - offset));
	}
}

static void
found(const DocWant *want, const JsonbValue *value, JsonbValue *values)
{
	for (int i = 0; i < want->npaths; i++)
		values[want->paths[i]] = *value;
	if (want->below != NULL && value->type == jbvBinary)
		get_in(want->below, value->val.binary.data, values);
}

static void
get_names(const DocWants *wants, JsonbContainer *object, JsonbValue *values)
{
	int n = (int) JsonContainerSize(object);
	char *base = (char *) (object->children + 2 * n);
	uint32 offset = 0;
	int at = 0;
	JsonbValue value;

	if (n > SEARCH_COST * wants->nnames)
	{
		for (int i = 0; i < wants->nnames; i++)
			if (getKeyJsonValueFromContainer(object, wants->names[i].name, wants->names[i].len, &value) != NULL)
				found(&wants->names[i], &value, values);
		return;
	}
	for (int i = 0; i < n && at < wants->nnames; i++)
	{
		JEntry entry = object->children[i];
		uint32 len = JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) - offset : JBE_OFFLENFLD(entry);
		int order = -1;

		while (at < wants->nnames &&
			   (order = compare_keys(base + offset, (int) len, wants->names[at].name, wants->names[at].len)) > 0)
			at++;
		if (order == 0 && at < wants->nnames)
		{
			entry_value(object, n + i, base, entry_offset(object, n + i), &value);
			found(&wants->names[at++], &value, values);
		}
		offset += len;
	}
}

static void
get_elements(const DocWants *wants, JsonbContainer *array, JsonbValue *values)
{
	uint32 n = JsonContainerSize(array);
	char *base = (char *) (array->children + n);
	JsonbValue value;

	for (int i = 0; i < wants->nelements; i++)
	{
		int index = (int) wants->elements[i].index;

		if (wants->elements[i].index >= n)
			continue;
		entry_value(array, index, base, entry_offset(array, index), &value);
		found(&wants->elements[i], &value, values);
	}
}

static void
get_in(const DocWants *wants, JsonbContainer *container, JsonbValue *values)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
		get_names(wants, container, values);
	/* A scalar document is stored as an array of one; it has no elements for us. */
	else if (JsonContainerIsArray(container) && !JsonContainerIsScalar(container))
		get_elements(wants, container, values);
}

void
doc_wants_get(const DocWants *wants, JsonbContainer *root, JsonbValue *values)
{
	for (int i = 0; i < wants->npaths; i++)
		values[i].type = jbvNull;
	get_in(wants, root, values);
}
