/*
 * definition.c - reads the JSON document that defines a view.
 *
 * Beware: the server exports a function json_object of its own, which a call from here would reach instead of
 * jansson's.  Nothing here makes JSON objects; jansson's calls among its own functions do not leave it.
 */
#include "postgres.h"

#include "view/definition.h"

#include <jansson.h>

static const char *const members = "collections, map, key, reduce, finalize";

static void
bad_member(const char *member, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid view definition"),
			 errdetail("\"%s\" must be %s.", member, wanted)));
}

static char *
copy_string(const char *member, json_t *value, const char *wanted)
{
	if (!json_is_string(value) || json_string_length(value) == 0 ||
		strlen(json_string_value(value)) != json_string_length(value))
		bad_member(member, wanted);
	return pstrdup(json_string_value(value));
}

static List *
copy_collections(json_t *value)
{
	static const char *const wanted = "an array with the names of one or more collections, each once";
	List *names = NIL;
	size_t i;
	json_t *element;

	if (!json_is_array(value) || json_array_size(value) == 0)
		bad_member("collections", wanted);
	json_array_foreach(value, i, element)
	{
		char *name = copy_string("collections", element, wanted);
		ListCell *lc;

		if (strlen(name) >= NAMEDATALEN)
			bad_member("collections", wanted);
		foreach (lc, names)
			if (strcmp(lfirst(lc), name) == 0)
				bad_member("collections", wanted);
		names = lappend(names, name);
	}
	return names;
}

static ViewDefinition *
copy(json_t *root)
{
	ViewDefinition *definition = palloc0(sizeof(ViewDefinition));
	const char *member;
	json_t *value;

	if (!json_is_object(root))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid view definition"),
				 errdetail("It is a JSON value, but not an object."),
				 errhint("Members of a definition: %s.", members)));
	json_object_foreach(root, member, value)
	{
		if (strcmp(member, "collections") == 0)
			definition->collections = copy_collections(value);
		else if (strcmp(member, "map") == 0)
			definition->map = copy_string(member, value, "a string with a SELECT");
		else if (strcmp(member, "key") == 0)
		{
			if (!json_is_null(value))
				definition->key = copy_string(member, value, "a string with the names of columns");
		}
		else if (strcmp(member, "reduce") == 0)
		{
			if (!json_is_null(value))
				definition->reduce = copy_string(member, value, "a string with a SELECT");
		}
		else if (strcmp(member, "finalize") == 0)
		{
			if (!json_is_null(value))
				definition->finalize = copy_string(member, value, "a string with a SELECT");
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid view definition"),
					 errdetail("There is no member \"%s\".", member),
					 errhint("Members of a definition: %s.", members)));
	}
	if (definition->collections == NIL)
		bad_member("collections", "given");
	if (definition->map == NULL)
		bad_member("map", "given");
	if (definition->finalize != NULL && definition->reduce == NULL)
		bad_member("reduce", "given, because there is \"finalize\"");
	return definition;
}

ViewDefinition *
view_definition_parse(const char *json)
{
	ViewDefinition *definition = NULL;
	json_error_t error;
	json_t *root = json_loads(json, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (root == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid view definition: %s", error.text),
				 errdetail("Line %d, column %d of the JSON document.", error.line, error.column)));
	PG_TRY();
	{
		definition = copy(root);
	}
	PG_FINALLY();
	{
		json_decref(root);
	}
	PG_END_TRY();
	return definition;
}
