/*
 * definition.c - reads the JSON document that defines a replication.
 */
#include "postgres.h"

#include "repl/definition.h"

#include "view/json.h"

#define WHAT "replication"

static const char *const members = "collections, view, tables, on_error";
static const char *const table_members = "table, key, collection, select, mode, match";

static ReplMode
mode_of(json_t *value)
{
	static const char *const wanted = "\"replace\", \"merge\" or \"insert_only\"";
	char *mode = view_json_string(WHAT, "mode", value, wanted);

	if (strcmp(mode, "replace") == 0)
		return REPL_REPLACE;
	if (strcmp(mode, "merge") == 0)
		return REPL_MERGE;
	if (strcmp(mode, "insert_only") != 0)
		view_json_bad(WHAT, "mode", wanted);
	return REPL_INSERT_ONLY;
}

static char *
column_name(const char *member, json_t *value)
{
	char *name = view_json_string(WHAT, member, value, "the name of a column");

	if (strlen(name) >= NAMEDATALEN)
		view_json_bad(WHAT, member, "the name of a column");
	return name;
}

static ReplTable *
copy_table(json_t *object)
{
	ReplTable *table = palloc0(sizeof(ReplTable));
	const char *member;
	json_t *value;

	view_json_check_object(WHAT, object, table_members);
	json_object_foreach(object, member, value)
	{
		if (strcmp(member, "table") == 0)
			table->table = view_json_string(WHAT, member, value, "the name of a table");
		else if (strcmp(member, "key") == 0)
			table->key = column_name(member, value);
		else if (strcmp(member, "collection") == 0)
			table->collection = column_name(member, value);
		else if (strcmp(member, "select") == 0)
			table->select = view_json_string(WHAT, member, value, "a string with a SELECT");
		else if (strcmp(member, "mode") == 0)
			table->mode = mode_of(value);
		else if (strcmp(member, "match") == 0)
			table->match = view_json_names(WHAT, member, value, "an array with the names of columns, each once");
		else
			view_json_unknown(WHAT, member, table_members);
	}
	if (table->table == NULL)
		view_json_bad(WHAT, "table", "given");
	if (table->key == NULL)
		view_json_bad(WHAT, "key", "given");
	if (table->select == NULL)
		view_json_bad(WHAT, "select", "given");
	if (table->match != NIL && table->mode != REPL_MERGE)
		view_json_bad(WHAT, "match", "given with \"mode\": \"merge\" only");
	if (table->collection != NULL && strcmp(table->collection, table->key) == 0)
		view_json_bad(WHAT, "collection", "another column than \"key\"");
	return table;
}

static List *
copy_tables(json_t *value)
{
	List *tables = NIL;
	size_t i;
	json_t *element;

	if (!json_is_array(value) || json_array_size(value) == 0)
		view_json_bad(WHAT, "tables", "an array of one or more objects");
	json_array_foreach(value, i, element) tables = lappend(tables, copy_table(element));
	return tables;
}

static int
by_text(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

static void *
copy(json_t *root)
{
	ReplDefinition *definition = palloc0(sizeof(ReplDefinition));
	const char *member;
	json_t *value;
	ListCell *lc;

	view_json_check_object(WHAT, root, members);
	json_object_foreach(root, member, value)
	{
		if (strcmp(member, "collections") == 0)
			definition->collections =
				view_json_names(WHAT, member, value, "an array with the names of one or more collections, each once");
		else if (strcmp(member, "view") == 0)
			definition->view = view_json_string(WHAT, member, value, "the name of a view");
		else if (strcmp(member, "tables") == 0)
			definition->tables = copy_tables(value);
		else if (strcmp(member, "on_error") == 0)
		{
			static const char *const wanted = "\"skip\" or \"stop\"";
			char *word = view_json_string(WHAT, member, value, wanted);

			definition->stop = strcmp(word, "stop") == 0;
			if (!definition->stop && strcmp(word, "skip") != 0)
				view_json_bad(WHAT, member, wanted);
		}
		else
			view_json_unknown(WHAT, member, members);
	}
	if (definition->view != NULL && definition->collections != NIL)
		view_json_bad(WHAT, "view", "given without \"collections\"");
	if (definition->view != NULL)
		definition->collections = list_make1(definition->view);
	if (definition->collections == NIL)
		view_json_bad(WHAT, "collections", "given, or \"view\"");
	if (definition->tables == NIL)
		view_json_bad(WHAT, "tables", "given");
	if (list_length(definition->collections) > 1)
		foreach (lc, definition->tables)
			if (((ReplTable *) lfirst(lc))->collection == NULL)
				view_json_bad(WHAT, "collection", "given for each table, because there are several collections");
	list_sort(definition->collections, by_text);
	return definition;
}

ReplDefinition *
repl_definition_parse(const char *json)
{
	return view_json_parse(WHAT, json, copy);
}
