/*
 * key.c - order-preserving encodings (key.h).
 *
 *     column   := marker value
 *     marker   := 0x00 NULL, sorted first | 0x01 a value follows | 0x02 NULL, sorted last
 *
 * The value's bytes are complemented where the column is descending; the
 * marker is not, it says itself where NULL goes.
 *
 *     bool       1 byte
 *     int        8 bytes, big-endian, sign bit flipped; float4 and the smaller
 *                integers are widened, so that they compare with the wide ones
 *     float      8 bytes: all bits complemented if negative, else the sign bit set; -0 is 0,
 *                any NaN is all ones
 *     numeric    class byte (-Infinity, negative, 0, positive, Infinity, NaN: 0 to 5); if finite and
 *                not 0: weight + 32768 as 2 bytes, each digit to base 10000 plus one as 2 bytes, 2 zero
 *                bytes; all complemented if negative.  Digits without leading and trailing zeros,
 *                so 1.0 and 1.00 are one.
 *     text       its bytes, which are never zero, and a zero byte; bpchar without trailing blanks
 *     bytea      its bytes with 0x00 written as 00 ff, then 00 00
 *     date       4 bytes; time, timestamp, timestamptz 8 bytes; as integers
 *     interval   16 bytes: the span that PostgreSQL compares (a month is 30 days, a day 24 hours)
 *     uuid       16 bytes
 */
#include "postgres.h"

#include "view/key.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "store/compat.h"

#define MARK_NULL_FIRST 0x00
#define MARK_VALUE 0x01
#define MARK_NULL_LAST 0x02

/* Signs in numeric_send's format. */
#define SEND_NEGATIVE 0x4000
#define SEND_NAN 0xC000
#define SEND_POSITIVE_INFINITY 0xD000
#define SEND_NEGATIVE_INFINITY 0xF000

typedef enum NumericClass
{
	CLASS_NEGATIVE_INFINITY,
	CLASS_NEGATIVE,
	CLASS_ZERO,
	CLASS_POSITIVE,
	CLASS_POSITIVE_INFINITY,
	CLASS_NAN
} NumericClass;

ViewKeyKind
view_key_kind(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
			return VIEW_KEY_BOOL;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			return VIEW_KEY_INT;
		case FLOAT4OID:
		case FLOAT8OID:
			return VIEW_KEY_FLOAT;
		case NUMERICOID:
			return VIEW_KEY_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
			return VIEW_KEY_TEXT;
		case BPCHAROID:
			return VIEW_KEY_BPCHAR;
		case BYTEAOID:
			return VIEW_KEY_BYTEA;
		case DATEOID:
			return VIEW_KEY_DATE;
		case TIMEOID:
			return VIEW_KEY_TIME;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return VIEW_KEY_TIMESTAMP;
		case INTERVALOID:
			return VIEW_KEY_INTERVAL;
		case UUIDOID:
			return VIEW_KEY_UUID;
		default:
			return VIEW_KEY_NONE;
	}
}

const char *
view_key_types(void)
{
	return "boolean, smallint, integer, bigint, oid, real, double precision, numeric, text, character varying, character, "
		   "bytea, date, time, timestamp, timestamp with time zone, interval and uuid";
}

static void
append_be16(StringInfo key, uint16 value)
{
	value = pg_hton16(value);
	appendBinaryStringInfo(key, (char *) &value, sizeof(value));
}

static void
append_be64(StringInfo key, uint64 value)
{
	value = pg_hton64(value);
	appendBinaryStringInfo(key, (char *) &value, sizeof(value));
}

static void
append_int64(StringInfo key, int64 value)
{
	append_be64(key, (uint64) value ^ PG_INT64_MIN);
}

static void
append_float(StringInfo key, float8 value)
{
	uint64 bits;

	if (isnan(value))
		bits = PG_UINT64_MAX;
	else
	{
		value = value == 0 ? 0 : value;
		memcpy(&bits, &value, sizeof(bits));
		bits = (bits >> 63) ? ~bits : bits | UINT64CONST(0x8000000000000000);
	}
	append_be64(key, bits);
}

static uint16
read_be16(const unsigned char *p)
{
	return (uint16) (p[0] << 8 | p[1]);
}

static void
append_numeric(StringInfo key, Datum value)
{
	bytea *sent = DatumGetByteaPP(DirectFunctionCall1(numeric_send, value));
	const unsigned char *p = (const unsigned char *) VARDATA_ANY(sent);
	int ndigits = read_be16(p);
	int weight = (int16) read_be16(p + 2);
	uint16 sign = read_be16(p + 4);
	const unsigned char *digits = p + 8;
	int start;

	switch (sign)
	{
		case SEND_NAN:
			appendStringInfoChar(key, CLASS_NAN);
			return;
		case SEND_POSITIVE_INFINITY:
			appendStringInfoChar(key, CLASS_POSITIVE_INFINITY);
			return;
		case SEND_NEGATIVE_INFINITY:
			appendStringInfoChar(key, CLASS_NEGATIVE_INFINITY);
			return;
	}
	while (ndigits > 0 && read_be16(digits) == 0)
	{
		digits += 2;
		ndigits--;
		weight--;
	}
	while (ndigits > 0 && read_be16(digits + 2 * (ndigits - 1)) == 0)
		ndigits--;
	if (ndigits == 0)
	{
		appendStringInfoChar(key, CLASS_ZERO);
		return;
	}
	appendStringInfoChar(key, sign == SEND_NEGATIVE ? CLASS_NEGATIVE : CLASS_POSITIVE);
	start = key->len;
	append_be16(key, (uint16) (weight + 32768));
	for (int i = 0; i < ndigits; i++)
		append_be16(key, (uint16) (read_be16(digits + 2 * i) + 1));
	append_be16(key, 0);
	if (sign == SEND_NEGATIVE)
		for (int i = start; i < key->len; i++)
			key->data[i] = ~key->data[i];
	pfree(sent);
}

static void
append_text(StringInfo key, Datum value, bool trim)
{
	text *t = DatumGetTextPP(value);
	int len = VARSIZE_ANY_EXHDR(t);

	while (trim && len > 0 && VARDATA_ANY(t)[len - 1] == ' ')
		len--;
	appendBinaryStringInfo(key, VARDATA_ANY(t), len);
	appendStringInfoChar(key, '\0');
}

static void
append_bytea(StringInfo key, Datum value)
{
	bytea *b = DatumGetByteaPP(value);
	const char *data = VARDATA_ANY(b);
	int len = VARSIZE_ANY_EXHDR(b);

	for (int i = 0; i < len; i++)
	{
		appendStringInfoCharMacro(key, data[i]);
		if (data[i] == '\0')
			appendStringInfoCharMacro(key, '\xff');
	}
	appendBinaryStringInfo(key, "\0\0", 2);
}

/* What interval_cmp compares: 128 bits, because months times microseconds do not fit into 64. */
static void
append_interval(StringInfo key, const Interval *interval)
{
	__int128 span = (__int128) interval->month * 30 + interval->day;
	unsigned __int128 bits;

	span = span * USECS_PER_DAY + interval->time;
	bits = (unsigned __int128) span ^ ((unsigned __int128) 1 << 127);
	append_be64(key, (uint64) (bits >> 64));
	append_be64(key, (uint64) bits);
}

static void
append_value(StringInfo key, Oid type, Datum value)
{
	switch (type)
	{
		case BOOLOID:
			appendStringInfoChar(key, DatumGetBool(value) ? 1 : 0);
			break;
		case INT2OID:
			append_int64(key, DatumGetInt16(value));
			break;
		case INT4OID:
			append_int64(key, DatumGetInt32(value));
			break;
		case INT8OID:
			append_int64(key, DatumGetInt64(value));
			break;
		case OIDOID:
			append_int64(key, (int64) DatumGetObjectId(value));
			break;
		case FLOAT4OID:
			append_float(key, (float8) DatumGetFloat4(value));
			break;
		case FLOAT8OID:
			append_float(key, DatumGetFloat8(value));
			break;
		case NUMERICOID:
			append_numeric(key, value);
			break;
		case TEXTOID:
		case VARCHAROID:
			append_text(key, value, false);
			break;
		case BPCHAROID:
			append_text(key, value, true);
			break;
		case BYTEAOID:
			append_bytea(key, value);
			break;
		case DATEOID:
		{
			uint32 bits = pg_hton32((uint32) DatumGetDateADT(value) ^ 0x80000000);

			appendBinaryStringInfo(key, (char *) &bits, sizeof(bits));
			break;
		}
		case TIMEOID:
			append_int64(key, DatumGetTimeADT(value));
			break;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			append_int64(key, DatumGetTimestamp(value));
			break;
		case INTERVALOID:
			append_interval(key, DatumGetIntervalP(value));
			break;
		case UUIDOID:
			appendBinaryStringInfo(key, (const char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		default:
			elog(ERROR, "type %u cannot be part of a view's key", type);
	}
}

void
view_key_append(StringInfo key, const ViewKeyColumn *column, Datum value, bool isnull)
{
	int start;

	if (isnull)
	{
		appendStringInfoChar(key, column->nulls_first ? MARK_NULL_FIRST : MARK_NULL_LAST);
		return;
	}
	appendStringInfoChar(key, MARK_VALUE);
	start = key->len;
	append_value(key, column->type, value);
	if (column->descending)
		for (int i = start; i < key->len; i++)
			key->data[i] = ~key->data[i];
}

void
view_key_append_not_null(StringInfo key, const ViewKeyColumn *column)
{
	appendStringInfoChar(key, MARK_VALUE);
}

void
view_key_append_text_start(StringInfo key, const ViewKeyColumn *column, const char *data, size_t len)
{
	int start;

	appendStringInfoChar(key, MARK_VALUE);
	start = key->len;
	appendBinaryStringInfo(key, data, (int) len);
	if (column->descending)
		for (int i = start; i < key->len; i++)
			key->data[i] = ~key->data[i];
}

bool
view_key_behind(StringInfo prefix)
{
	while (prefix->len > 0 && (unsigned char) prefix->data[prefix->len - 1] == 0xff)
		prefix->len--;
	if (prefix->len == 0)
		return false;
	prefix->data[prefix->len - 1]++;
	prefix->data[prefix->len] = '\0';
	return true;
}

/* ---- for tests ---- */

PG_FUNCTION_INFO_V1(docstore_view_key);

/*
 * docstore.view_key(value, descending, nulls_first): a value's encoding, so that a test can compare its order with
 * PostgreSQL's own.
 */
Datum
docstore_view_key(PG_FUNCTION_ARGS)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	ViewKeyColumn column;
	StringInfoData key;
	bytea *result;

	if (view_key_kind(type) == VIEW_KEY_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s cannot be part of a view's key", format_type_be(type)),
				 errhint("Types that can: %s.", view_key_types())));
	column.type = getBaseType(type);
	column.descending = PG_GETARG_BOOL(1);
	column.nulls_first = PG_GETARG_BOOL(2);
	initStringInfo(&key);
	view_key_append(&key, &column, PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	result = palloc(VARHDRSZ + key.len);
	SET_VARSIZE(result, VARHDRSZ + key.len);
	memcpy(VARDATA(result), key.data, key.len);
	PG_RETURN_BYTEA_P(result);
}
