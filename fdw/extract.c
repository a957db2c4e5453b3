/*
 * extract.c - many paths of a document at once (extract.h).
 *
 * jsonb's binary form of an object (PostgreSQL's utils/jsonb.h), all words in the machine's order:
 *
 *     header     uint32       number of members n, and flags
 *     entries    uint32[2n]   type, and a length; every 32nd says where it ends instead
 *     keys       n strings, sorted by length and then bytes
 *     values     n of them in the same order; numbers and containers aligned to 4 bytes
 *
 * An array has n entries and values.  The first n entries and the keys of an object are its shape.  The last shape that was
 * seen is kept at each place of the tree of wants, with what is found where in it.
 */
#include "postgres.h"

#include "fdw/extract.h"

#include "miscadmin.h"

/* A search looks at some of an object's entries for each bit of their number, and steps back to one that says where it ends. */
#define SEARCH_COST 64
/* Bytes of the largest shape that is kept. */
#define SHAPE_MAX 1024
#define NOWHERE UINT32_MAX

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
	/* the path, if it is the only one, or -1 */
	int path;
} DocWant;

/* A wanted name that an object has. */
typedef struct DocFound
{
	uint32 at; /* which member it is */
	const DocWant *want;
} DocFound;

struct DocWants
{
	int nnames; /* in the order of an object's keys */
	DocWant *names;
	int nelements;
	DocWant *elements;
	int npaths; /* of the root */
	/* the last shape, and what was found in it, in the order of members */
	bool kept;
	uint32 members;
	uint32 keys_len; /* bytes of all keys */
	char *shape;
	int nfound;
	DocFound *found;
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

static void finish_want(DocWant *want);

static void
finish(DocWants *wants)
{
	check_stack_depth();
	if (wants->nnames > 0)
	{
		qsort(wants->names, wants->nnames, sizeof(DocWant), compare_names);
		wants->shape = palloc(SHAPE_MAX);
		wants->found = palloc(wants->nnames * sizeof(DocFound));
	}
	for (int i = 0; i < wants->nnames; i++)
		finish_want(&wants->names[i]);
	for (int i = 0; i < wants->nelements; i++)
		finish_want(&wants->elements[i]);
}

static void
finish_want(DocWant *want)
{
	want->path = want->npaths == 1 && want->below == NULL ? want->paths[0] : -1;
	if (want->below != NULL)
		finish(want->below);
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
	finish(root);
	return root;
}

/* ---- a document ---- */

static void get_in(DocWants *wants, const char *container, DocValue *values);

static inline uint32
load_word(const char *p)
{
	uint32 word;

	memcpy(&word, p, sizeof(word));
	return word;
}

static inline JEntry
entry_at(const char *entries, uint32 index)
{
	return load_word(entries + (Size) index * sizeof(JEntry));
}

/* Where what comes behind an entry begins, if the entry begins at `offset`. */
static inline uint32
entry_end(JEntry entry, uint32 offset)
{
	return JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) : offset + JBE_OFFLENFLD(entry);
}

/* Where an entry begins: as getJsonbOffset. */
static uint32
entry_offset(const char *entries, uint32 index)
{
	uint32 offset = 0;

	while (index > 0)
	{
		JEntry entry = entry_at(entries, --index);

		offset += JBE_OFFLENFLD(entry);
		if (JBE_HAS_OFF(entry))
			break;
	}
	return offset;
}

/* To all paths that end here or go on. */
static pg_noinline void
give_out(const DocWant *want, DocValue value, DocValue *values)
{
	for (int i = 0; i < want->npaths; i++)
		values[want->paths[i]] = value;
	if (want->below != NULL && value.type == JENTRY_ISCONTAINER)
	{
		check_stack_depth();
		get_in(want->below, value.data, values);
	}
}

/* The value of an entry that begins at base + offset is for `want`. */
static inline void
take(const DocWant *want, JEntry entry, const char *base, uint32 offset, DocValue *values)
{
	DocValue value = {entry & JENTRY_TYPEMASK, entry_end(entry, offset) - offset, base + offset};

	/* What an entry is longer by for alignment lies before it. */
	if (value.type == JENTRY_ISNUMERIC || value.type == JENTRY_ISCONTAINER)
	{
		value.data = base + INTALIGN(offset);
		value.len -= INTALIGN(offset) - offset;
	}
	if (want->path >= 0)
		values[want->path] = value;
	else
		give_out(want, value, values);
}

/* Which of the n members is called that, or NOWHERE. */
static uint32
search(const DocWant *want, uint32 n, const char *entries, const char *keys)
{
	uint32 left = 0;
	uint32 right = n;

	while (left < right)
	{
		uint32 mid = left + (right - left) / 2;
		uint32 offset = entry_offset(entries, mid);
		int order = compare_keys(keys + offset, (int) (entry_end(entry_at(entries, mid), offset) - offset), want->name, want->len);

		if (order == 0)
			return mid;
		if (order < 0)
			left = mid + 1;
		else
			right = mid;
	}
	return NOWHERE;
}

/* Finds the names among the n members, and keeps the shape. */
static pg_noinline void
learn(DocWants *wants, uint32 n, const char *entries, const char *keys)
{
	uint32 offset = 0;
	uint32 i = 0;

	wants->nfound = 0;
	for (int j = 0; j < wants->nnames; j++)
	{
		const DocWant *want = &wants->names[j];
		int order = 1;

		for (; i < n && order > 0; i++)
		{
			uint32 end = entry_end(entry_at(entries, i), offset);

			order = compare_keys(want->name, want->len, keys + offset, (int) (end - offset));
			/* The key stays: it may be the next name. */
			if (order < 0)
				break;
			if (order == 0)
				wants->found[wants->nfound++] = (DocFound){i, want};
			offset = end;
		}
	}
	wants->members = n;
	wants->keys_len = entry_offset(entries, n);
	wants->kept = (Size) n * sizeof(JEntry) + wants->keys_len <= SHAPE_MAX;
	if (wants->kept)
	{
		memcpy(wants->shape, entries, n * sizeof(JEntry));
		memcpy(wants->shape + n * sizeof(JEntry), keys, wants->keys_len);
	}
}

/* The entries tell how long the keys are. */
static inline bool
has_kept_shape(const DocWants *wants, uint32 n, const char *entries, const char *keys)
{
	return wants->kept && n == wants->members && memcmp(entries, wants->shape, n * sizeof(JEntry)) == 0 &&
		   memcmp(keys, wants->shape + n * sizeof(JEntry), wants->keys_len) == 0;
}

static pg_noinline void
search_names(const DocWants *wants, uint32 n, const char *entries, const char *base, DocValue *values)
{
	for (int j = 0; j < wants->nnames; j++)
	{
		uint32 at = search(&wants->names[j], n, entries, base);

		if (at != NOWHERE)
			take(&wants->names[j], entry_at(entries, n + at), base, entry_offset(entries, n + at), values);
	}
}

static void
get_names(DocWants *wants, uint32 n, const char *entries, DocValue *values)
{
	const char *base = entries + (Size) n * 2 * sizeof(JEntry);
	uint32 offset;
	uint32 i = 0;

	if (n > SEARCH_COST * (uint32) wants->nnames)
	{
		search_names(wants, n, entries, base, values);
		return;
	}
	if (!has_kept_shape(wants, n, entries, base))
		learn(wants, n, entries, base);
	offset = wants->keys_len;
	for (int j = 0; j < wants->nfound; j++)
	{
		const DocFound *found = &wants->found[j];

		for (; i < found->at; i++)
			offset = entry_end(entry_at(entries, n + i), offset);
		take(found->want, entry_at(entries, n + i), base, offset, values);
	}
}

static void
get_elements(const DocWants *wants, uint32 n, const char *entries, DocValue *values)
{
	const char *base = entries + (Size) n * sizeof(JEntry);

	for (int i = 0; i < wants->nelements; i++)
	{
		uint32 index = wants->elements[i].index;

		if (index < n)
			take(&wants->elements[i], entry_at(entries, index), base, entry_offset(entries, index), values);
	}
}

static void
get_in(DocWants *wants, const char *container, DocValue *values)
{
	uint32 header = load_word(container);
	uint32 n = header & JB_CMASK;

	if ((header & JB_FOBJECT) && wants->nnames > 0)
		get_names(wants, n, container + sizeof(header), values);
	/* A scalar document is stored as an array of one; it has no elements for us. */
	else if ((header & JB_FARRAY) && !(header & JB_FSCALAR))
		get_elements(wants, n, container + sizeof(header), values);
}

void
doc_wants_get(DocWants *wants, const char *root, DocValue *values)
{
	for (int i = 0; i < wants->npaths; i++)
		values[i].type = JENTRY_ISNULL;
	get_in(wants, root, values);
}

/* The bytes, at an address that is a multiple of 4. */
static void *
aligned(const DocValue *value)
{
	void *copy;

	if ((uintptr_t) value->data == INTALIGN((uintptr_t) value->data))
		return (void *) value->data;
	copy = palloc(value->len);
	memcpy(copy, value->data, value->len);
	return copy;
}

void
doc_value_jsonb(const DocValue *value, JsonbValue *result)
{
	switch (value->type)
	{
		case JENTRY_ISSTRING:
			result->type = jbvString;
			result->val.string.val = (char *) value->data;
			result->val.string.len = (int) value->len;
			break;
		case JENTRY_ISNUMERIC:
			result->type = jbvNumeric;
			result->val.numeric = aligned(value);
			break;
		case JENTRY_ISBOOL_FALSE:
		case JENTRY_ISBOOL_TRUE:
			result->type = jbvBool;
			result->val.boolean = value->type == JENTRY_ISBOOL_TRUE;
			break;
		case JENTRY_ISCONTAINER:
			result->type = jbvBinary;
			result->val.binary.data = aligned(value);
			result->val.binary.len = (int) value->len;
			break;
		default:
			result->type = jbvNull;
			break;
	}
}
