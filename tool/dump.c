/*
 * dump.c - the contents of a log, a manifest or a table, a line each.
 */
#include "tool/tool.h"

#include <stdio.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/coding.h"
#include "engine/log.h"
#include "engine/version.h"

#define TEXT_LIMIT 60 /* bytes of a value in a line of text */
#define PREFIX 13     /* of a key that PostgreSQL wrote: kind, database, collection (store/store.h) */

static void
set(json_t *object, const char *name, json_t *value)
{
	if (json_object_set_new(object, name, value) != 0)
		die("out of memory");
}

static json_t *
number(uint64_t value)
{
	return json_integer((json_int_t) value);
}

/* ---- entries ---- */

static void
set_key(const Tool *tool, json_t *object, LsmSlice key)
{
	if (tool->stamped && key.len >= PREFIX)
	{
		uint64_t database = 0;
		uint64_t collection = 0;

		for (int i = 1; i < 5; i++)
			database = database << 8 | (unsigned char) key.data[i];
		for (int i = 5; i < PREFIX; i++)
			collection = collection << 8 | (unsigned char) key.data[i];
		set(object, "kind", text_of(lsm_slice(key.data, 1), 0));
		set(object, "database", number(database));
		set(object, "collection", number(collection));
		key = lsm_slice(key.data + PREFIX, key.len - PREFIX);
	}
	set(object, "key", text_of(key, 0));
}

static void
set_value(const Tool *tool, json_t *object, LsmType type, LsmSlice value)
{
	LsmStamp stamp = {0};

	if (type == LSM_TYPE_DELETION)
	{
		set(object, "deleted", json_true());
		return;
	}
	if (tool->stamped)
	{
		LsmSlice payload;

		if (lsm_stamp_decode(value, &stamp, &payload))
			value = payload;
		else
			set(object, "stamp", json_string("invalid"));
		if (stamp.flags & LSM_STAMP_XACT)
		{
			set(object, "xid", number(stamp.xid));
			set(object, "cid", number(stamp.cid));
		}
		if (stamp.flags & LSM_STAMP_LOCK)
			set(object, "lock", json_true());
		if (stamp.flags & LSM_STAMP_SPILLED)
			set(object, "spilled", json_true());
		if (stamp.flags & LSM_STAMP_DELETE)
		{
			set(object, "deleted", json_true());
			return;
		}
	}
	set(object, "bytes", number(value.len));
	set(object, "value", text_of(value, tool->json ? 0 : TEXT_LIMIT));
}

static json_t *
new_object(void)
{
	json_t *object = json_object();

	if (object == NULL)
		die("out of memory");
	return object;
}

static LsmStatus
dump_entry(void *arg, LsmSlice ikey, LsmSlice value, LsmError *err)
{
	const Tool *tool = arg;
	json_t *object = new_object();

	(void) err;
	set_key(tool, object, lsm_ikey_user(ikey));
	set(object, "sequence", number(lsm_ikey_seq(ikey)));
	set_value(tool, object, lsm_ikey_type(ikey), value);
	print_object(tool, object);
	return LSM_OK;
}

/* ---- records ---- */

static void
dump_batch(Tool *tool, const char *name, uint64_t offset, LsmSlice record)
{
	LsmBatchReader reader;
	LsmError err;
	LsmStatus status = LSM_CORRUPT;

	(void) lsm_fail(&err, LSM_CORRUPT, 0, NULL, 0, "record is too short for a write batch");
	if (lsm_batch_reader_init(&reader, record))
	{
		while ((status = lsm_batch_next(&reader, &err)) == LSM_OK)
		{
			json_t *object = new_object();

			set(object, "offset", number(offset));
			set(object, "sequence", number(reader.seq));
			set_key(tool, object, reader.key);
			set_value(tool, object, reader.type, reader.value);
			print_object(tool, object);
		}
	}
	if (status == LSM_CORRUPT)
	{
		snprintf(err.file, sizeof(err.file), "%s", name);
		err.offset = offset;
		report_damage(tool, &err);
	}
}

static json_t *
file_list(const LsmLevelFile *files, int n, bool added)
{
	json_t *list = json_array();

	for (int i = 0; i < n; i++)
	{
		json_t *file = new_object();

		set(file, "level", number((uint64_t) files[i].level));
		set(file, "file", number(added ? files[i].file->number : files[i].number));
		if (added)
		{
			set(file, "bytes", number(files[i].file->size));
			set(file, "first", text_of(lsm_ikey_user(files[i].file->smallest), 0));
			set(file, "last", text_of(lsm_ikey_user(files[i].file->largest), 0));
		}
		if (json_array_append_new(list, file) != 0)
			die("out of memory");
	}
	return list;
}

static void
dump_edit(Tool *tool, const char *name, uint64_t offset, LsmSlice record)
{
	LsmEdit edit = {0};
	LsmError err;
	LsmStatus status = lsm_edit_decode(record, &edit, name, offset, &err);
	json_t *object;

	if (status == LSM_CORRUPT)
	{
		report_damage(tool, &err);
		lsm_edit_free(&edit);
		return;
	}
	must(status, &err);
	object = new_object();
	set(object, "offset", number(offset));
	if (edit.has_comparator)
		set(object, "comparator", json_string(LSM_COMPARATOR_NAME));
	if (edit.has_log_number)
		set(object, "journal_position", number(edit.log_number));
	if (edit.has_next_file)
		set(object, "next_file", number(edit.next_file));
	if (edit.has_last_seq)
		set(object, "last_sequence", number(edit.last_seq));
	if (edit.ndeleted > 0)
		set(object, "deleted", file_list(edit.deleted, edit.ndeleted, false));
	if (edit.nadded > 0)
		set(object, "added", file_list(edit.added, edit.nadded, true));
	print_object(tool, object);
	lsm_edit_free(&edit);
}

typedef struct LogDump
{
	Tool *tool;
	const char *name;
} LogDump;

static void
log_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	LogDump *dump = arg;
	LsmError what;

	(void) lsm_fail(&what, LSM_CORRUPT, 0, dump->name, offset, "%s (%llu bytes skipped)", why, (unsigned long long) bytes);
	report_damage(dump->tool, &what);
}

static void
dump_log(Tool *tool, const char *name, bool manifest)
{
	LogDump dump = {tool, name};
	LsmLogReader *reader;
	LsmSlice record;
	LsmFile *file;
	LsmError err;
	LsmStatus status;

	must(lsm_file_open(tool->env, name, LSM_OPEN_READ, &file, &err), &err);
	must(lsm_log_reader_new(file, 0, log_damage, &dump, &reader, &err), &err);
	while ((status = lsm_log_read(reader, &record, &err)) == LSM_OK)
	{
		if (manifest)
			dump_edit(tool, name, lsm_log_record_offset(reader), record);
		else
			dump_batch(tool, name, lsm_log_record_offset(reader), record);
	}
	if (status != LSM_NOT_FOUND)
		must(status, &err);
	lsm_log_reader_free(reader);
	lsm_file_close(file);
}

void
dump_file(Tool *tool, const char *name)
{
	LsmFileKind kind;
	uint64_t file_number;
	LsmError err;

	if (!lsm_parse_file_name(name, &kind, &file_number))
		die("\"%s\" is not the name of a store's file", name);
	switch (kind)
	{
		case LSM_FILE_LOG:
			dump_log(tool, name, false);
			break;
		case LSM_FILE_MANIFEST:
			dump_log(tool, name, true);
			break;
		case LSM_FILE_TABLE:
			must(lsm_table_salvage(tool->env, file_number, report_damage, tool, dump_entry, tool, &err), &err);
			break;
		default:
			die("\"%s\" is neither a log nor a manifest nor a table", name);
	}
}
