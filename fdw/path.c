/*
 * path.c - parses paths, and reads and writes documents through them.
 *
 * Writing does not use jsonb_set: that guesses from a key's look ("0") whether
 * a missing parent is to be an array, where a path of ours says it.
 */
#include "postgres.h"

#include "fdw/path.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "store/compat.h"

/* What a name holds in quotes only. */
#define SPECIAL ".[]\" \t\r\n\v\f"

static pg_noreturn void
bad_path(const char *text, const char *at, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
			 errmsg("invalid path \"%s\"", text),
			 errdetail("At character %d: %s.", pg_mbstrlen_with_len(text, (int) (at - text)) + 1, what),
			 errhint("A path is made of names separated by dots and of subscripts, such as customer.name or lines[0].sku; put other names in double quotes.")));
}

DocPath *
doc_path_parse(const char *text)
{
	DocPath *path = palloc(sizeof(DocPath));
	const char *p = text;
	int room = 8;

	path->nsteps = 0;
	path->steps = palloc(room * sizeof(DocPathStep));

	if (*p == '\0')
		bad_path(text, p, "a name or a subscript is expected");
	while (*p != '\0')
	{
		DocPathStep *step;

		if (path->nsteps == room)
		{
			room *= 2;
			path->steps = repalloc(path->steps, room * sizeof(DocPathStep));
		}
		step = &path->steps[path->nsteps];
		memset(step, 0, sizeof(*step));

		if (*p == '[')
		{
			const char *start = ++p;

			while (*p >= '0' && *p <= '9')
			{
				step->index = step->index * 10 + (uint32) (*p - '0');
				if (step->index > DOC_PATH_MAX_INDEX)
					bad_path(text, start, "the subscript is too large");
				p++;
			}
			if (p == start)
				bad_path(text, p, "digits are expected");
			if (*p != ']')
				bad_path(text, p, "\"]\" is expected");
			p++;
		}
		else
		{
			if (path->nsteps > 0)
			{
				if (*p != '.')
					bad_path(text, p, "\".\" or \"[\" is expected");
				p++;
			}
			if (*p == '"')
			{
				const char *start = p++;

				step->name = palloc(strlen(p) + 1);
				for (;;)
				{
					if (*p == '\0')
						bad_path(text, start, "the quoted name does not end");
					if (*p == '"')
					{
						if (p[1] != '"')
							break;
						p++;
					}
					step->name[step->len++] = *p++;
				}
				step->name[step->len] = '\0';
				p++;
			}
			else
			{
				const char *start = p;

				while (*p != '\0' && strchr(SPECIAL, *p) == NULL)
					p++;
				if (p == start)
					bad_path(text, p, "a name is expected");
				step->len = (int) (p - start);
				step->name = pnstrdup(start, step->len);
			}
		}
		path->nsteps++;
	}
	return path;
}

char *
doc_path_text(const DocPath *path)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < path->nsteps; i++)
	{
		const DocPathStep *step = &path->steps[i];

		if (step->name == NULL)
		{
			appendStringInfo(&text, "[%u]", step->index);
			continue;
		}
		if (i > 0)
			appendStringInfoChar(&text, '.');
		if (step->len > 0 && strpbrk(step->name, SPECIAL) == NULL)
		{
			appendStringInfoString(&text, step->name);
			continue;
		}
		appendStringInfoChar(&text, '"');
		for (int j = 0; j < step->len; j++)
		{
			if (step->name[j] == '"')
				appendStringInfoChar(&text, '"');
			appendStringInfoChar(&text, step->name[j]);
		}
		appendStringInfoChar(&text, '"');
	}
	return text.data;
}

DocPath *
doc_path_of_name(const char *name)
{
	DocPath *path = palloc(sizeof(DocPath));

	path->nsteps = 1;
	path->steps = palloc0(sizeof(DocPathStep));
	path->steps[0].name = pstrdup(name);
	path->steps[0].len = (int) strlen(name);
	return path;
}

bool
doc_path_get(const DocPath *path, JsonbContainer *root, JsonbValue *value)
{
	JsonbContainer *container = root;

	for (int i = 0; i < path->nsteps; i++)
	{
		const DocPathStep *step = &path->steps[i];

		if (i > 0)
		{
			if (value->type != jbvBinary)
				return false;
			container = value->val.binary.data;
		}
		if (step->name != NULL)
		{
			if (!JsonContainerIsObject(container) ||
				getKeyJsonValueFromContainer(container, step->name, step->len, value) == NULL)
				return false;
		}
		else
		{
			JsonbValue *found;

			/* A scalar document is stored as an array of one; it has no elements for us. */
			if (!JsonContainerIsArray(container) || JsonContainerIsScalar(container))
				return false;
			found = getIthJsonbValueFromContainer(container, step->index);
			if (found == NULL)
				return false;
			*value = *found;
			pfree(found);
		}
	}
	return true;
}

static char *
path_up_to(const DocPath *path, int nsteps)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < nsteps; i++)
	{
		if (path->steps[i].name == NULL)
			appendStringInfo(&buf, "[%u]", path->steps[i].index);
		else
			appendStringInfo(&buf, "%s%s", i > 0 ? "." : "", path->steps[i].name);
	}
	return buf.data;
}

static void
push_null(JsonbParseState **state)
{
	JsonbValue null;

	null.type = jbvNull;
	pushJsonbValue(state, WJB_ELEM, &null);
}

/*
 * Pushes what stands at step `level`'s parent, changed; `old` is what was there, NULL if nothing or null.
 * A container that closes at the end is returned (of interest at the root only).
 */
static JsonbValue *
set_in(JsonbParseState **state, const DocPath *path, int level, JsonbContainer *old, JsonbValue *value)
{
	const DocPathStep *step = &path->steps[level];
	bool last = level == path->nsteps - 1;
	bool object = step->name != NULL;
	JsonbIteratorToken at = object ? WJB_VALUE : WJB_ELEM;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	JsonbValue *res;
	uint32 index = 0;
	bool found = false;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (old != NULL && (object ? !JsonContainerIsObject(old)
							   : (!JsonContainerIsArray(old) || JsonContainerIsScalar(old))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot set \"%s\" in the document", path_up_to(path, path->nsteps)),
				 level == 0 ? errdetail("The document is not an %s.", object ? "object" : "array")
							: errdetail("The value of \"%s\" is not an %s.", path_up_to(path, level),
										object ? "object" : "array")));

	pushJsonbValue(state, object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY, NULL);
	if (old != NULL)
	{
		it = JsonbIteratorInit(old);
		token = JsonbIteratorNext(&it, &v, true); /* the beginning */
		while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		{
			bool here;

			if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
				break;
			if (object)
			{
				JsonbValue key = v;

				here = key.val.string.len == step->len && memcmp(key.val.string.val, step->name, step->len) == 0;
				JsonbIteratorNext(&it, &v, true);
				if (here && last && value == NULL)
				{
					found = true;
					continue;
				}
				pushJsonbValue(state, WJB_KEY, &key);
			}
			else
				here = index++ == step->index;

			if (!here)
				pushJsonbValue(state, at, &v);
			else
			{
				found = true;
				if (!last)
				{
					if (v.type != jbvBinary && v.type != jbvNull)
						ereport(ERROR,
								(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								 errmsg("cannot set \"%s\" in the document", path_up_to(path, path->nsteps)),
								 errdetail("The value of \"%s\" is neither object nor array.", path_up_to(path, level + 1))));
					set_in(state, path, level + 1, v.type == jbvBinary ? v.val.binary.data : NULL, value);
				}
				else if (value != NULL)
					pushJsonbValue(state, at, value);
				else
					push_null(state);
			}
		}
	}
	/* Removing what is not there changes nothing: no parents are made for it (the caller saw to that). */
	if (!found && value != NULL)
	{
		if (object)
		{
			JsonbValue key;

			key.type = jbvString;
			key.val.string.val = step->name;
			key.val.string.len = step->len;
			pushJsonbValue(state, WJB_KEY, &key);
		}
		else
			for (; index < step->index; index++)
				push_null(state);
		if (last)
			pushJsonbValue(state, at, value);
		else
			set_in(state, path, level + 1, NULL, value);
	}
	res = pushJsonbValue(state, object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
	return res;
}

Jsonb *
doc_path_set(const DocPath *path, Jsonb *document, JsonbValue *value)
{
	JsonbParseState *state = NULL;
	JsonbValue there;

	if (value == NULL && !doc_path_get(path, &document->root, &there))
		return document;
	return JsonbValueToJsonb(set_in(&state, path, 0, &document->root, value));
}
