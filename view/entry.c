/*
 * entry.c - rows of views as bytes, and back (entry.h).
 */
#include "postgres.h"

#include "view/entry.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define FORMAT 1
#define FORMAT_ERROR 2
#define HASH_BYTES 4
#define SQLSTATE_BYTES 5

static void
damaged(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a stored row of a view is damaged: %s", what)));
}

const char *
view_lost(const ViewShape *shape, bool collations)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const ViewColumn *column = &shape->columns[i];

		if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(column->type)))
			return psprintf("the type of column \"%s\" does not exist any more", column->name);
		if (collations && OidIsValid(column->collation) && !SearchSysCacheExists1(COLLOID, ObjectIdGetDatum(column->collation)))
			return psprintf("the collation of column \"%s\" does not exist any more", column->name);
	}
	return NULL;
}

ViewLayout *
view_layout(const ViewShape *shape)
{
	ViewLayout *layout = palloc(sizeof(ViewLayout));
	const char *lost = view_lost(shape, false);
	int n = shape->ncolumns;

	if (lost != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg_internal("%s", lost),
				 errhint("Drop the view, or give it another definition.")));
	layout->ncolumns = n;
	layout->length = palloc(n * sizeof(int16));
	layout->by_value = palloc(n * sizeof(bool));
	layout->packable = palloc(n * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		char align;

		get_typlenbyvalalign(shape->columns[i].type, &layout->length[i], &layout->by_value[i], &align);
		layout->packable[i] = layout->length[i] == -1 && get_typstorage(shape->columns[i].type) != TYPSTORAGE_PLAIN;
	}
	return layout;
}

static void
append_be64(StringInfo buf, uint64 value)
{
	value = pg_hton64(value);
	appendBinaryStringInfo(buf, (char *) &value, sizeof(value));
}

void
view_entry_append_number(StringInfo buf, uint32 value)
{
	while (value >= 0x80)
	{
		appendStringInfoCharMacro(buf, (char) (value | 0x80));
		value >>= 7;
	}
	appendStringInfoCharMacro(buf, (char) value);
}

uint32
view_entry_take_number(LsmSlice *rest)
{
	uint32 result = 0;

	for (int shift = 0; shift <= 28 && rest->len > 0; shift += 7)
	{
		unsigned char byte = (unsigned char) rest->data[0];

		rest->data++;
		rest->len--;
		result |= (uint32) (byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return result;
	}
	damaged("bad length");
	return 0;
}

static const char *
take(LsmSlice *rest, size_t len)
{
	const char *data = rest->data;

	if (len > rest->len)
		damaged("it ends too early");
	rest->data += len;
	rest->len -= len;
	return data;
}

/* ---- rows ---- */

uint32
view_entry_key(StringInfo key, const ViewShape *shape, bool reduced, const Datum *values, const bool *nulls, LsmSlice id,
			   uint64 collection, uint32 number)
{
	int start = key->len;
	uint32 offset;
	uint32 hash;

	for (int i = 0; i < shape->nkeys; i++)
	{
		int at = shape->key_attribute[i] - 1;

		view_key_append(key, &shape->key[i], values[at], nulls[at]);
	}
	if (reduced)
	{
		static const char room[HASH_BYTES];

		appendBinaryStringInfo(key, room, HASH_BYTES);
	}
	offset = (uint32) (key->len - start);
	view_key_append_not_null(key, &shape->key[shape->nkeys]);
	appendBinaryStringInfo(key, id.data, (int) id.len);
	appendStringInfoChar(key, '\0');
	append_be64(key, collection);
	number = pg_hton32(number);
	appendBinaryStringInfo(key, (char *) &number, sizeof(number));
	if (reduced)
	{
		hash = pg_hton32(hash_bytes((unsigned char *) key->data + start + offset, key->len - start - (int) offset));
		memcpy(key->data + start + offset - HASH_BYTES, &hash, HASH_BYTES);
	}
	if (key->len - start > VIEW_MAX_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("key of a view's row is too long"),
				 errdetail("It has %d bytes; the limit is %d.", key->len - start, VIEW_MAX_KEY)));
	return offset;
}

static void
append_variable(StringInfo buf, bool packable, Datum datum)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);
	uint32 len = VARSIZE_ANY_EXHDR(value);

	if (packable && len + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		char header[VARHDRSZ_SHORT];

		SET_VARSIZE_SHORT(header, len + VARHDRSZ_SHORT);
		appendBinaryStringInfo(buf, header, VARHDRSZ_SHORT);
	}
	else
	{
		appendStringInfoCharMacro(buf, '\0');
		view_entry_append_number(buf, len);
	}
	appendBinaryStringInfo(buf, VARDATA_ANY(value), (int) len);
	if ((Pointer) value != DatumGetPointer(datum))
		pfree(value);
}

void
view_entry_value(StringInfo value, const ViewLayout *layout, uint32 id_offset, const Datum *values, const bool *nulls)
{
	int bitmap;

	appendStringInfoChar(value, FORMAT);
	view_entry_append_number(value, id_offset);
	bitmap = value->len;
	for (int i = 0; i < layout->ncolumns; i += 8)
		appendStringInfoChar(value, '\0');
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (nulls[i])
			value->data[bitmap + i / 8] |= (char) (1 << (i % 8));
		else if (layout->length[i] < 0)
			append_variable(value, layout->packable[i], values[i]);
		else if (layout->by_value[i])
		{
			Datum datum;

			store_att_byval(&datum, values[i], layout->length[i]);
			appendBinaryStringInfo(value, (char *) &datum, layout->length[i]);
		}
		else
			appendBinaryStringInfo(value, DatumGetPointer(values[i]), layout->length[i]);
	}
}

static uint32
take_head(LsmSlice *rest)
{
	if (rest->len < 2 || (rest->data[0] != FORMAT && rest->data[0] != FORMAT_ERROR))
		damaged("unknown format");
	(void) take(rest, 1);
	return view_entry_take_number(rest);
}

static Datum
take_variable(LsmSlice *rest, bool wanted)
{
	const char *start = rest->data;
	struct varlena *value;
	uint32 len;

	if (*take(rest, 1) != '\0')
	{
		(void) take(rest, VARSIZE_SHORT(start) - VARHDRSZ_SHORT);
		return PointerGetDatum(start);
	}
	len = view_entry_take_number(rest);
	start = take(rest, len);
	if (!wanted)
		return (Datum) 0;
	value = palloc(VARHDRSZ + len);
	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), start, len);
	return PointerGetDatum(value);
}

/* ---- results ---- */

LsmSlice
view_entry_group(LsmSlice key, size_t id_len, uint32 *hash)
{
	/* Behind the group: hash, a mark, id, its end, collection, number. */
	size_t tail = HASH_BYTES + 1 + id_len + 1 + sizeof(uint64) + sizeof(uint32);

	if (key.len < tail)
		damaged("its key is too short");
	key.len -= tail;
	memcpy(hash, key.data + key.len, HASH_BYTES);
	*hash = pg_ntoh32(*hash);
	return key;
}

LsmSlice
view_entry_group_of(LsmSlice key, LsmSlice value, uint32 *hash)
{
	uint32 offset = view_entry_count(value);

	if (offset < HASH_BYTES || offset > key.len)
		damaged("its key is too short");
	key.len = offset - HASH_BYTES;
	memcpy(hash, key.data + key.len, HASH_BYTES);
	*hash = pg_ntoh32(*hash);
	return key;
}

uint32
view_entry_count(LsmSlice value)
{
	return take_head(&value);
}

void
view_entry_error(StringInfo value, uint32 count, const ErrorData *error)
{
	appendStringInfoChar(value, FORMAT_ERROR);
	view_entry_append_number(value, count);
	appendBinaryStringInfo(value, unpack_sql_state(error->sqlerrcode), SQLSTATE_BYTES);
	appendStringInfoString(value, error->message);
}

void
view_entry_error_copy(StringInfo value, uint32 count, LsmSlice error)
{
	(void) take_head(&error);
	appendStringInfoChar(value, FORMAT_ERROR);
	view_entry_append_number(value, count);
	appendBinaryStringInfo(value, error.data, (int) error.len);
}

bool
view_entry_is_error(LsmSlice value)
{
	return value.len > 0 && value.data[0] == FORMAT_ERROR;
}

int
view_entry_sqlstate(LsmSlice error)
{
	const char *state;

	(void) take_head(&error);
	state = take(&error, SQLSTATE_BYTES);
	return MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
}

LsmSlice
view_entry_message(LsmSlice error)
{
	(void) take_head(&error);
	(void) take(&error, SQLSTATE_BYTES);
	return error;
}

static void
throw_error(LsmSlice value)
{
	LsmSlice message = view_entry_message(value);

	ereport(ERROR,
			(errcode(view_entry_sqlstate(value)),
			 errmsg_internal("%.*s", (int) message.len, message.data),
			 errcontext("reduce of a view")));
}

LsmSlice
view_entry_read(const ViewLayout *layout, LsmSlice value, const bool *wanted, Datum *values, bool *nulls)
{
	LsmSlice rest = value;
	const char *bitmap;

	if (view_entry_is_error(value))
		throw_error(value);
	(void) take_head(&rest);
	bitmap = take(&rest, (layout->ncolumns + 7) / 8);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		bool want = wanted == NULL || wanted[i];
		int16 length = layout->length[i];

		nulls[i] = (bitmap[i / 8] & (1 << (i % 8))) != 0;
		values[i] = (Datum) 0;
		if (nulls[i])
			continue;
		if (length < 0)
			values[i] = take_variable(&rest, want);
		else
		{
			const char *data = take(&rest, length);

			if (!want)
				continue;
			if (layout->by_value[i])
			{
				Datum datum = 0;

				memcpy(&datum, data, length);
				values[i] = fetch_att(&datum, true, length);
			}
			else
			{
				/* Aligned. */
				char *copy = palloc(length);

				memcpy(copy, data, length);
				values[i] = PointerGetDatum(copy);
			}
		}
	}
	return rest;
}

LsmSlice
view_entry_behind(const ViewLayout *layout, LsmSlice value)
{
	Datum *values = palloc(layout->ncolumns * sizeof(Datum));
	bool *nulls = palloc(layout->ncolumns * sizeof(bool));
	bool *wanted = palloc0(layout->ncolumns * sizeof(bool));
	LsmSlice rest = view_entry_read(layout, value, wanted, values, nulls);

	pfree(values);
	pfree(nulls);
	pfree(wanted);
	return rest;
}

text *
view_entry_id(LsmSlice key, LsmSlice value)
{
	LsmSlice rest = value;
	size_t start = DOCSTORE_KEY_PREFIX + take_head(&rest) + 1;
	const char *end;

	if (start >= key.len || (end = memchr(key.data + start, '\0', key.len - start)) == NULL)
		damaged("no id in its key");
	return cstring_to_text_with_len(key.data + start, (int) (end - (key.data + start)));
}

/* ---- the back-index ---- */

void
view_back_key(StringInfo key, uint64 view, uint64 collection, LsmSlice id)
{
	char prefix[DOCSTORE_KEY_PREFIX];

	docstore_key_prefix(prefix, DOCSTORE_KEY_BACK, MyDatabaseId, view);
	appendBinaryStringInfo(key, prefix, sizeof(prefix));
	append_be64(key, collection);
	appendBinaryStringInfo(key, id.data, (int) id.len);
}

void
view_back_append(StringInfo list, LsmSlice bytes)
{
	view_entry_append_number(list, (uint32) bytes.len);
	appendBinaryStringInfo(list, bytes.data, (int) bytes.len);
}

bool
view_back_next(LsmSlice *rest, LsmSlice *bytes)
{
	if (rest->len == 0)
		return false;
	bytes->len = view_entry_take_number(rest);
	bytes->data = take(rest, bytes->len);
	return true;
}
