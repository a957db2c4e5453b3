/*
 * definition.c - reads the JSON document that defines a view.
 */
#include "postgres.h"

#include "view/definition.h"

#include "view/json.h"

#define WHAT "view"

static const char *const members = "collections, map, key, reduce, finalize";
static const char *const names = "an array with the names of one or more collections, each once";

static void *
copy(json_t *root)
{
	ViewDefinition *definition = palloc0(sizeof(ViewDefinition));
	const char *member;
	json_t *value;

	view_json_check_object(WHAT, root, members);
	json_object_foreach(root, member, value)
	{
		if (strcmp(member, "collections") == 0)
			definition->collections = view_json_names(WHAT, member, value, names);
		else if (strcmp(member, "map") == 0)
			definition->map = view_json_string(WHAT, member, value, "a string with a SELECT");
		else if (strcmp(member, "key") == 0)
		{
			if (!json_is_null(value))
				definition->key = view_json_string(WHAT, member, value, "a string with the names of columns");
		}
		else if (strcmp(member, "reduce") == 0)
		{
			if (!json_is_null(value))
				definition->reduce = view_json_string(WHAT, member, value, "a string with a SELECT");
		}
		else if (strcmp(member, "finalize") == 0)
		{
			if (!json_is_null(value))
				definition->finalize = view_json_string(WHAT, member, value, "a string with a SELECT");
		}
		else
			view_json_unknown(WHAT, member, members);
	}
	if (definition->collections == NIL)
		view_json_bad(WHAT, "collections", "given");
	if (definition->map == NULL)
		view_json_bad(WHAT, "map", "given");
	if (definition->finalize != NULL && definition->reduce == NULL)
		view_json_bad(WHAT, "reduce", "given, because there is \"finalize\"");
	return definition;
}

ViewDefinition *
view_definition_parse(const char *json)
{
	return view_json_parse(WHAT, json, copy);
}
