/*
 * jsonl.c - docstore.export and docstore.import: whole collections as JSON Lines.
 *
 *     {"id": "orders/1", "doc": {"customer": "c/9"}}
 *
 * One document a line, UTF-8, in the order of ids.  An import also takes lines
 * that are documents themselves, if it is told where in them the id lies.
 *
 * Files lie on the server, as COPY's do, and need the same rights, beside those
 * to the collection.  Both directions hold a line or a batch of them at a time.
 * Progress shows in pg_stat_progress_copy, where people look for it.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_authid_d.h"
#include "commands/progress.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "fdw/collection.h"
#include "fdw/scan.h"
#include "fdw/seek.h"
#include "fdw/write.h"
#include "store/predicate.h"

#define READ_BYTES (64 * 1024)

PG_FUNCTION_INFO_V1(docstore_export);
PG_FUNCTION_INFO_V1(docstore_export_file);
PG_FUNCTION_INFO_V1(docstore_import_file);

/* ---- both ways ---- */

/* The collection, locked; for its owner and members of that role. */
static void
open_collection(FunctionCallInfo fcinfo, LOCKMODE mode, DocCollection *collection)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("collection must not be null")));
	docstore_collection_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), NoLock, collection);
	docstore_collection_check_owner(collection);
	docstore_collection_get(collection->name, mode, collection);
	docstore_collection_check_owner(collection);
	docstore_collection_as_of(collection, mode, GetActiveSnapshot());
}

static char *
file_argument(FunctionCallInfo fcinfo, Oid role, const char *role_name, const char *what)
{
	char *file;

	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("file must not be null")));
	if (!has_privs_of_role(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s a file", what),
				 errdetail("Only roles with privileges of the \"%s\" role may %s files of the server.", role_name, what)));
	file = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!is_absolute_path(file))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("relative path not allowed: \"%s\"", file),
				 errhint("Files are on the server; give the whole path.")));
	return file;
}

static void
start_progress(int command, int64 total)
{
	const int params[] = {PROGRESS_COPY_COMMAND, PROGRESS_COPY_TYPE, PROGRESS_COPY_BYTES_TOTAL};
	int64 values[] = {command, PROGRESS_COPY_TYPE_FILE, total};

	/* A collection has no oid to show. */
	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, InvalidOid);
	pgstat_progress_update_multi_param(lengthof(params), params, values);
}

static void
show_progress(uint64 bytes, uint64 documents)
{
	const int params[] = {PROGRESS_COPY_BYTES_PROCESSED, PROGRESS_COPY_TUPLES_PROCESSED};
	int64 values[] = {(int64) bytes, (int64) documents};

	pgstat_progress_update_multi_param(lengthof(params), params, values);
}

/* ---- export ---- */

typedef struct Export
{
	DocCollection collection;
	DocCursor *cursor;
	DocPredicate *predicate;
	DocumentBuffer doc;
	StringInfoData line;
	bool started;
} Export;

static void
free_predicate(void *arg)
{
	docstore_predicate_free(arg);
}

static Export *
begin_export(FunctionCallInfo fcinfo)
{
	Export *export = palloc0(sizeof(Export));
	SeekRange range;

	open_collection(fcinfo, AccessShareLock, &export->collection);
	export->doc.context = CurrentMemoryContext;
	initStringInfo(&export->line);
	export->cursor = doc_cursor_new(GetActiveSnapshot());
	export->predicate = docstore_predicate_new(export->collection.storage, GetActiveSnapshot(), &export->cursor->read);
	if (export->predicate != NULL)
	{
		MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

		callback->func = free_predicate;
		callback->arg = export->predicate;
		MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
		docstore_predicate_range(export->predicate);
	}
	doc_seek_range(export->collection.storage, NULL, 0, NULL, NULL, &range);
	doc_cursor_open(export->cursor, range.lower, range.upper);
	return export;
}

/* The next document as a line (without its end) in export->line; false at the end. */
static bool
next_line(Export *export, MemoryContext temp)
{
	LsmScan *at = export->cursor->scan;
	MemoryContext old;
	TimestampTz modified;
	LsmSlice body;
	char *id = NULL;
	bool found;

	CHECK_FOR_INTERRUPTS();
	if (export->started)
		lsm_scan_next(at);
	else
		lsm_scan_first(at);
	export->started = true;
	MemoryContextReset(temp);
	old = MemoryContextSwitchTo(temp);
	found = at->valid;
	if (found)
	{
		id = pnstrdup(document_key_id(at->key).data, document_key_id(at->key).len);
		document_decode(at->value, &modified, &body);
		(void) document_buffer_set(&export->doc, body);
	}
	lsm_scan_release(at);
	docstore_check(at->status, &at->err);
	if (export->predicate != NULL)
		docstore_predicate_check(export->predicate);
	if (!found)
	{
		MemoryContextSwitchTo(old);
		return false;
	}

	resetStringInfo(&export->line);
	appendStringInfoString(&export->line, "{\"id\": ");
	escape_json(&export->line, id);
	appendStringInfoString(&export->line, ", \"doc\": ");
	(void) JsonbToCString(&export->line, &export->doc.jsonb->root, VARSIZE(export->doc.jsonb));
	appendStringInfoChar(&export->line, '}');
	MemoryContextSwitchTo(old);
	return true;
}

/* docstore.export(collection text) RETURNS SETOF json */
Datum
docstore_export(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext temp = AllocSetContextCreate(CurrentMemoryContext, "docstore export", ALLOCSET_DEFAULT_SIZES);
	Export *export;

	/* A tuplestore goes to disk beyond work_mem. */
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	export = begin_export(fcinfo);
	while (next_line(export, temp))
	{
		MemoryContext old = MemoryContextSwitchTo(temp);
		Datum value = PointerGetDatum(cstring_to_text_with_len(export->line.data, export->line.len));
		bool isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
		MemoryContextSwitchTo(old);
	}
	doc_cursor_close(export->cursor);
	MemoryContextDelete(temp);
	return (Datum) 0;
}

static void
write_failed(const char *file)
{
	/* fwrite does not always say so. */
	if (errno == 0)
		errno = ENOSPC;
	ereport(ERROR, (errcode_for_file_access(), errmsg("could not write to file \"%s\": %m", file)));
}

static FILE *
create_file(const char *file)
{
	mode_t before = umask(S_IWGRP | S_IWOTH);
	FILE *out = NULL;

	PG_TRY();
	{
		out = AllocateFile(file, PG_BINARY_W);
	}
	PG_FINALLY();
	{
		umask(before);
	}
	PG_END_TRY();
	if (out == NULL)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\" for writing: %m", file)));
	return out;
}

/* docstore.export(collection text, file text) RETURNS bigint */
Datum
docstore_export_file(PG_FUNCTION_ARGS)
{
	MemoryContext temp = AllocSetContextCreate(CurrentMemoryContext, "docstore export", ALLOCSET_DEFAULT_SIZES);
	char *file = file_argument(fcinfo, ROLE_PG_WRITE_SERVER_FILES, "pg_write_server_files", "write");
	Export *export = begin_export(fcinfo);
	FILE *out = create_file(file);
	uint64 bytes = 0;
	uint64 n = 0;

	start_progress(PROGRESS_COPY_COMMAND_TO, 0);
	while (next_line(export, temp))
	{
		MemoryContext old = MemoryContextSwitchTo(temp);
		char *line;
		size_t len;

		appendStringInfoChar(&export->line, '\n');
		line = pg_server_to_any(export->line.data, export->line.len, PG_UTF8);
		len = line == export->line.data ? (size_t) export->line.len : strlen(line);
		errno = 0;
		if (fwrite(line, 1, len, out) != len)
			write_failed(file);
		bytes += len;
		show_progress(bytes, ++n);
		MemoryContextSwitchTo(old);
	}
	doc_cursor_close(export->cursor);
	errno = 0;
	if (FreeFile(out) != 0)
		write_failed(file);
	pgstat_progress_end_command();
	MemoryContextDelete(temp);
	PG_RETURN_INT64((int64) n);
}

/* ---- import ---- */

typedef struct Import
{
	DocCollection collection;
	DocWriter writer;
	DocPath *id_path; /* NULL: lines are as exported */
	DocPath *doc_path;
	const char *file;
	FILE *in;
	char buffer[READ_BYTES];
	size_t have; /* bytes in buffer, and how far they are used */
	size_t used;
	StringInfoData line;
	uint64 bytes;
	uint64 lines;
	uint64 documents; /* written */
	/* the batch */
	MemoryContext temp;
	DocumentKey *keys;
	Jsonb **docs;
	int n;
	Size batch_bytes;
} Import;

static void
say_where(void *arg)
{
	Import *import = arg;

	errcontext("file \"%s\", line %llu", import->file, (unsigned long long) import->lines);
}

/* The next line into import->line, without its end; false behind the last. */
static bool
read_line(Import *import)
{
	resetStringInfo(&import->line);
	for (;;)
	{
		char *from = import->buffer + import->used;
		size_t left = import->have - import->used;
		ssize_t got;
		char *end = memchr(from, '\n', left);

		if (end != NULL)
			left = end - from;
		appendBinaryStringInfo(&import->line, from, (int) left);
		import->used += left;
		if (end != NULL)
		{
			import->used++;
			break;
		}
		CHECK_FOR_INTERRUPTS();
		import->used = import->have = 0;
		/* Not fread: it would hold back what a pipe has given so far. */
		got = read(fileno(import->in), import->buffer, sizeof(import->buffer));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", import->file)));
		import->have = (size_t) got;
		import->bytes += import->have;
		if (got == 0)
		{
			if (import->line.len == 0)
				return false;
			break;
		}
	}
	import->lines++;
	return true;
}

static bool
is_blank(const StringInfo line)
{
	return strspn(line->data, " \t\r") == (size_t) line->len;
}

static void
bad_line(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("line is not a document"),
			 errdetail("%s", detail)));
}

/* The text of an id, which may be a number in files of others'. */
static char *
id_text(Import *import, Jsonb *line, size_t *len)
{
	JsonbValue value;
	char *text;

	if (!doc_path_get(import->id_path, &line->root, &value) || value.type == jbvNull)
		bad_line("There is no id at the path.");
	if (value.type == jbvString)
	{
		*len = value.val.string.len;
		return value.val.string.val;
	}
	if (value.type != jbvNumeric)
		bad_line("What is at the path is neither a string nor a number.");
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	*len = strlen(text);
	return text;
}

static Jsonb *
parse_line(Import *import)
{
	char *text;

	if (memchr(import->line.data, '\0', import->line.len) != NULL)
		bad_line("It holds a zero byte.");
	text = pg_any_to_server(import->line.data, import->line.len, PG_UTF8);
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

static void
write_batch(Import *import)
{
	uint64 *etags = palloc(DOCSTORE_MAX_BATCH * sizeof(uint64));

	if (import->n > 0)
		docstore_insert_many(&import->writer, import->n, import->keys, import->docs, GetCurrentTimestamp(), etags);
	import->documents += import->n;
	import->n = 0;
	import->batch_bytes = 0;
	MemoryContextReset(import->temp);
	import->keys = palloc(DOCSTORE_MAX_BATCH * sizeof(DocumentKey));
	import->docs = palloc(DOCSTORE_MAX_BATCH * sizeof(Jsonb *));
	show_progress(import->bytes - (import->have - import->used), import->documents);
}

static void
add_line(Import *import, bool as_exported)
{
	Jsonb *line = parse_line(import);
	Jsonb *doc = line;
	size_t len;
	char *id;

	if (as_exported)
	{
		JsonbValue value;

		if (!doc_path_get(import->doc_path, &line->root, &value))
			bad_line("It is no object with the fields \"id\" and \"doc\".");
		doc = JsonbValueToJsonb(&value);
	}
	id = id_text(import, line, &len);
	document_key_init(&import->keys[import->n], import->collection.storage, id, len);
	import->docs[import->n++] = doc;
	import->batch_bytes += VARSIZE(doc);
	if (import->n == DOCSTORE_MAX_BATCH || import->batch_bytes > docstore_batch_bytes())
		write_batch(import);
}

/* docstore.import(collection text, file text, id_path text DEFAULT NULL) RETURNS bigint */
Datum
docstore_import_file(PG_FUNCTION_ARGS)
{
	Import *import = palloc0(sizeof(Import));
	bool as_exported = PG_ARGISNULL(2);
	ErrorContextCallback callback;
	MemoryContext old;
	struct stat status;

	PreventCommandIfReadOnly("docstore.import()");
	import->file = file_argument(fcinfo, ROLE_PG_READ_SERVER_FILES, "pg_read_server_files", "read");
	import->id_path = as_exported ? doc_path_of_name("id") : doc_path_parse(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	import->doc_path = doc_path_of_name("doc");
	open_collection(fcinfo, RowExclusiveLock, &import->collection);
	import->in = AllocateFile(import->file, PG_BINARY_R);
	if (import->in == NULL)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\" for reading: %m", import->file)));
	if (fstat(fileno(import->in), &status) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", import->file)));
	if (S_ISDIR(status.st_mode))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is a directory", import->file)));

	/* A command of its own, as docstore.put. */
	CommandCounterIncrement();
	docstore_writer_init(&import->writer, &import->collection, GetCurrentCommandId(true), GetActiveSnapshot());
	initStringInfo(&import->line);
	import->temp = AllocSetContextCreate(CurrentMemoryContext, "docstore import", ALLOCSET_DEFAULT_SIZES);
	start_progress(PROGRESS_COPY_COMMAND_FROM, (int64) status.st_size);
	callback.callback = say_where;
	callback.arg = import;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	old = MemoryContextSwitchTo(import->temp);
	write_batch(import);
	while (read_line(import))
		if (!is_blank(&import->line))
			add_line(import, as_exported);
	write_batch(import);
	MemoryContextSwitchTo(old);

	error_context_stack = callback.previous;
	FreeFile(import->in);
	pgstat_progress_end_command();
	MemoryContextDelete(import->temp);
	PG_RETURN_INT64((int64) import->documents);
}
