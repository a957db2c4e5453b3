/*
 * json.c - reading definitions (json.h).
 *
 * jansson knows UTF-8 only: a definition is converted for it, and what it gives back into the database's encoding.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "view/json.h"

static char *
to_server(const char *s)
{
	return pg_any_to_server(s, strlen(s), PG_UTF8);
}

void
view_json_bad(const char *what, const char *member, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s definition", what),
			 errdetail("\"%s\" must be %s.", member, wanted)));
}

void
view_json_unknown(const char *what, const char *member, const char *members)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s definition", what),
			 errdetail("There is no member \"%s\".", to_server(member)),
			 errhint("Members of a definition: %s.", members)));
}

void
view_json_check_object(const char *what, json_t *value, const char *members)
{
	if (!json_is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s definition", what),
				 errdetail("It is a JSON value, but not an object."),
				 errhint("Members of a definition: %s.", members)));
}

void *
view_json_parse(const char *what, const char *text, void *(*copy)(json_t *root))
{
	json_error_t error;
	json_t *root = json_loads(pg_server_to_any(text, strlen(text), PG_UTF8), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	void *volatile definition = NULL;
	bool nul = root == NULL && json_error_code(&error) == json_error_null_character;

	if (root == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 /* The library speaks of its flags there. */
				 errmsg("invalid %s definition: %s", what, nul ? "\\u0000 cannot be converted to text" : to_server(error.text)),
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

char *
view_json_string(const char *what, const char *member, json_t *value, const char *wanted)
{
	if (!json_is_string(value) || json_string_length(value) == 0 ||
		strlen(json_string_value(value)) != json_string_length(value))
		view_json_bad(what, member, wanted);
	return pstrdup(to_server(json_string_value(value)));
}

List *
view_json_names(const char *what, const char *member, json_t *value, const char *wanted)
{
	List *names = NIL;
	size_t i;
	json_t *element;

	if (!json_is_array(value) || json_array_size(value) == 0)
		view_json_bad(what, member, wanted);
	json_array_foreach(value, i, element)
	{
		char *name = view_json_string(what, member, element, wanted);
		ListCell *lc;

		if (strlen(name) >= NAMEDATALEN)
			view_json_bad(what, member, wanted);
		foreach (lc, names)
			if (strcmp(lfirst(lc), name) == 0)
				view_json_bad(what, member, wanted);
		names = lappend(names, name);
	}
	return names;
}
