/*
 * convert.c - values between documents and typed columns (convert.h says how).
 */
#include "postgres.h"

#include "fdw/convert.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

/* A function of anyelement learns the type of that from the expression that calls it. */
static void
init_call(FmgrInfo *function, Oid oid, Oid type, int32 typmod, MemoryContext context)
{
	FuncExpr *call = makeFuncExpr(oid, get_func_rettype(oid), list_make1(makeNullConst(type, typmod, InvalidOid)), InvalidOid,
								  InvalidOid, COERCE_EXPLICIT_CALL);

	fmgr_info_cxt(oid, function, context);
	fmgr_info_set_expr((Node *) call, function);
}

void
doc_convert_init(DocConvert *convert, Oid type, int32 typmod, MemoryContext context)
{
	Oid input;
	MemoryContext old = MemoryContextSwitchTo(context);

	memset(convert, 0, sizeof(*convert));
	convert->type = type;
	convert->typmod = typmod;
	getTypeInputInfo(type, &input, &convert->input_param);
	fmgr_info_cxt(input, &convert->input, context);

	init_call(&convert->to_jsonb, F_TO_JSONB, type, typmod, context);

	switch (type)
	{
		case TEXTOID:
			convert->kind = DOC_CONVERT_TEXT;
			break;
		case NUMERICOID:
			/* A type modifier (precision, scale) is the input function's business. */
			convert->kind = typmod < 0 ? DOC_CONVERT_NUMERIC : DOC_CONVERT_INPUT;
			break;
		case INT2OID:
			convert->kind = DOC_CONVERT_INT2;
			break;
		case INT4OID:
			convert->kind = DOC_CONVERT_INT4;
			break;
		case INT8OID:
			convert->kind = DOC_CONVERT_INT8;
			break;
		case FLOAT8OID:
			convert->kind = DOC_CONVERT_FLOAT8;
			break;
		case BOOLOID:
			convert->kind = DOC_CONVERT_BOOL;
			break;
		case JSONBOID:
			convert->kind = DOC_CONVERT_JSONB;
			break;
		case JSONOID:
			convert->kind = DOC_CONVERT_JSON;
			break;
		default:
			convert->kind = DOC_CONVERT_INPUT;
			if (type_is_array(type))
			{
				Oid element = get_base_element_type(type);

				convert->kind = DOC_CONVERT_ARRAY;
				convert->element = palloc(sizeof(DocConvert));
				doc_convert_init(convert->element, element, typmod, context);
				get_typlenbyvalalign(element, &convert->length, &convert->by_value, &convert->align);
			}
			else if (type_is_rowtype(type) && type != RECORDOID)
			{
				convert->kind = DOC_CONVERT_ROW;
				init_call(&convert->populate, F_JSONB_POPULATE_RECORD, type, typmod, context);
			}
	}
	MemoryContextSwitchTo(old);
}

/* What #>> shows of a value, zero-terminated. */
static char *
value_text(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
			elog(ERROR, "unexpected jsonb value of type %d", (int) value->type);
	}
	return NULL;
}

static Datum
read_input(DocConvert *convert, JsonbValue *value)
{
	return InputFunctionCall(&convert->input, value_text(value), convert->input_param, convert->typmod);
}

/*
 * A whole number for an integer column of that kind, read from numeric's short form on disk
 * (numeric.c, "NumericShort": sign, scale and weight in one header word, digits
 * base 10,000).  `data` is what lies behind the varlena header.  false if the number has a fraction, another form or more than
 * 16 digits, and for what is out of range: the input function decides on those.
 */
static inline bool
read_integer(DocConvertKind kind, const char *data, Size len, Datum *datum)
{
	int ndigits = ((int) len - (int) sizeof(uint16)) / (int) sizeof(int16);
	int weight;
	uint16 header;
	int64 whole = 0;

	memcpy(&header, data, sizeof(header));
	if ((header & 0xC000) != 0x8000 || (header & 0x1F80) != 0)
		return false;
	weight = (header & 0x40) ? -1 : (header & 0x3F);
	if (weight > 3 || ndigits > weight + 1)
		return false;
	for (int i = 0; i <= weight; i++)
	{
		int16 digit = 0;

		if (i < ndigits)
			memcpy(&digit, data + sizeof(header) + i * sizeof(int16), sizeof(digit));
		whole = whole * 10000 + digit;
	}
	if (header & 0x2000)
		whole = -whole;
	switch (kind)
	{
		case DOC_CONVERT_INT2:
			*datum = Int16GetDatum((int16) whole);
			return whole >= PG_INT16_MIN && whole <= PG_INT16_MAX;
		case DOC_CONVERT_INT4:
			*datum = Int32GetDatum((int32) whole);
			return whole >= PG_INT32_MIN && whole <= PG_INT32_MAX;
		default:
			*datum = Int64GetDatum(whole);
			return true;
	}
}

/* ---- the quick way ---- */

/* Room for a value of `len` bytes behind a header, which is set; NULL if there is none. */
static inline char *
space_take(DocSpace *space, Size len)
{
	Size need = MAXALIGN(VARHDRSZ + len);
	char *data = space->data + space->used;

	if (need > space->size - space->used)
		return NULL;
	space->used += need;
	SET_VARSIZE(data, VARHDRSZ + len);
	return data;
}

static inline bool
quick_bytes(const char *data, Size len, DocSpace *space, Datum *datum)
{
	char *copy = space_take(space, len);

	if (copy == NULL)
		return false;
	memcpy(VARDATA(copy), data, len);
	*datum = PointerGetDatum(copy);
	return true;
}

/* A number as jsonb has it: a Numeric with a header of four bytes, at any address. */
static inline bool
is_number(const DocValue *value)
{
	return value->type == JENTRY_ISNUMERIC && value->len > VARHDRSZ && !VARATT_IS_1B(value->data);
}

static inline bool
quick_one(DocConvertKind kind, const DocValue *value, DocSpace *space, Datum *datum)
{
	switch (kind)
	{
		case DOC_CONVERT_TEXT:
			return value->type == JENTRY_ISSTRING && quick_bytes(value->data, value->len, space, datum);
		case DOC_CONVERT_NUMERIC:
			return is_number(value) && quick_bytes(value->data + VARHDRSZ, value->len - VARHDRSZ, space, datum);
		case DOC_CONVERT_INT2:
		case DOC_CONVERT_INT4:
		case DOC_CONVERT_INT8:
			return is_number(value) && read_integer(kind, value->data + VARHDRSZ, value->len - VARHDRSZ, datum);
		case DOC_CONVERT_BOOL:
			*datum = BoolGetDatum(value->type == JENTRY_ISBOOL_TRUE);
			return value->type == JENTRY_ISBOOL_TRUE || value->type == JENTRY_ISBOOL_FALSE;
		default:
			return false;
	}
}

/* A loop for each kind that does not ask what kind it is. */
static pg_attribute_always_inline int
quick_column(DocConvertKind kind, const DocValue *values, int stride, int n, DocSpace *space, Datum *datums, bool *isnull)
{
	for (int i = 0; i < n; i++, values += stride)
	{
		isnull[i] = values->type == JENTRY_ISNULL;
		datums[i] = (Datum) 0;
		if (!isnull[i] && !quick_one(kind, values, space, &datums[i]))
			return i;
	}
	return n;
}

int
doc_convert_quick(const DocConvert *convert, const DocValue *values, int stride, int n, DocSpace *space, Datum *datums, bool *isnull)
{
	switch (convert->kind)
	{
		case DOC_CONVERT_TEXT:
			return quick_column(DOC_CONVERT_TEXT, values, stride, n, space, datums, isnull);
		case DOC_CONVERT_NUMERIC:
			return quick_column(DOC_CONVERT_NUMERIC, values, stride, n, space, datums, isnull);
		case DOC_CONVERT_INT4:
			return quick_column(DOC_CONVERT_INT4, values, stride, n, space, datums, isnull);
		case DOC_CONVERT_INT8:
			return quick_column(DOC_CONVERT_INT8, values, stride, n, space, datums, isnull);
		default:
			return quick_column(convert->kind, values, stride, n, space, datums, isnull);
	}
}

/* ---- all of them ---- */

static Datum
read_array(DocConvert *convert, JsonbValue *value)
{
	JsonbContainer *container = value->val.binary.data;
	int n = (int) JsonContainerSize(container);
	Datum *datums = palloc(n * sizeof(Datum));
	bool *nulls = palloc(n * sizeof(bool));
	int lower = 1;
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbValue v;
	int i = 0;

	(void) JsonbIteratorNext(&it, &v, true);
	while (i < n && JsonbIteratorNext(&it, &v, true) == WJB_ELEM)
	{
		datums[i] = doc_convert_read(convert->element, &v, &nulls[i]);
		i++;
	}
	if (i == 0)
		return PointerGetDatum(construct_empty_array(convert->element->type));
	return PointerGetDatum(construct_md_array(datums, nulls, 1, &i, &lower, convert->element->type, convert->length,
											  convert->by_value, convert->align));
}

static Datum
read_row(DocConvert *convert, JsonbValue *value, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo function;
	Datum row;

	/* What it keeps from call to call is for this one only: nobody tells that the type was altered. */
	fmgr_info_copy(&function, &convert->populate, CurrentMemoryContext);
	InitFunctionCallInfoData(*fcinfo, &function, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = (Datum) 0;
	fcinfo->args[0].isnull = true;
	fcinfo->args[1].value = JsonbPGetDatum(JsonbValueToJsonb(value));
	fcinfo->args[1].isnull = false;
	row = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return row;
}

Datum
doc_convert_read(DocConvert *convert, JsonbValue *value, bool *isnull)
{
	Datum datum;

	*isnull = value->type == jbvNull;
	if (*isnull)
		return (Datum) 0;

	switch (convert->kind)
	{
		case DOC_CONVERT_TEXT:
			if (value->type == jbvString)
				return PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
			return PointerGetDatum(cstring_to_text(value_text(value)));
		case DOC_CONVERT_NUMERIC:
			if (value->type == jbvNumeric)
				return datumCopy(NumericGetDatum(value->val.numeric), false, -1);
			break;
		case DOC_CONVERT_INT2:
		case DOC_CONVERT_INT4:
		case DOC_CONVERT_INT8:
			if (value->type == jbvNumeric &&
				read_integer(convert->kind, VARDATA_ANY(value->val.numeric), VARSIZE_ANY_EXHDR(value->val.numeric), &datum))
				return datum;
			break;
		case DOC_CONVERT_FLOAT8:
			if (value->type == jbvNumeric)
				return DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric));
			break;
		case DOC_CONVERT_BOOL:
			if (value->type == jbvBool)
				return BoolGetDatum(value->val.boolean);
			break;
		case DOC_CONVERT_JSONB:
			return PointerGetDatum(JsonbValueToJsonb(value));
		case DOC_CONVERT_JSON:
		{
			Jsonb *jsonb = JsonbValueToJsonb(value);

			return PointerGetDatum(cstring_to_text(JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb))));
		}
		case DOC_CONVERT_ARRAY:
			if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
				return read_array(convert, value);
			break;
		case DOC_CONVERT_ROW:
			if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
				return read_row(convert, value, isnull);
			break;
		case DOC_CONVERT_INPUT:
			break;
	}
	return read_input(convert, value);
}

bool
doc_convert_can_try(const DocConvert *convert)
{
	if (convert->element != NULL)
		return doc_convert_can_try(convert->element);
	switch (convert->type)
	{
		case BITOID:
		case BOOLOID:
		case BPCHAROID:
		case BYTEAOID:
		case CIDROID:
		case DATEOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case INETOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case INTERVALOID:
		case JSONBOID:
		case JSONOID:
		case MACADDROID:
		case NAMEOID:
		case NUMERICOID:
		case POINTOID:
		case TEXTOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case TIMETZOID:
		case UUIDOID:
		case VARBITOID:
		case VARCHAROID:
			return true;
		default:
			return get_typtype(convert->type) == TYPTYPE_ENUM;
	}
}

Datum
doc_convert_try(DocConvert *convert, JsonbValue *value, bool *isnull)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Datum result = (Datum) 0;

	PG_TRY();
	{
		result = doc_convert_read(convert, value, isnull);
	}
	PG_CATCH();
	{
		/* What says that the value is wrong, and nothing else. */
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		*isnull = true;
	}
	PG_END_TRY();
	return result;
}

JsonbValue *
doc_jsonb_value(Jsonb *jsonb)
{
	JsonbValue *value = palloc(sizeof(JsonbValue));

	if (JB_ROOT_IS_SCALAR(jsonb))
		JsonbExtractScalar(&jsonb->root, value);
	else
	{
		value->type = jbvBinary;
		value->val.binary.data = &jsonb->root;
		value->val.binary.len = VARSIZE_ANY_EXHDR(jsonb);
	}
	return value;
}

/* Does this session write ranges, intervals or floats in a style that another reads as something else? */
static bool
has_own_style(const DocConvert *convert)
{
	switch (convert->kind)
	{
		case DOC_CONVERT_FLOAT8:
		case DOC_CONVERT_ARRAY:
		case DOC_CONVERT_ROW:
		case DOC_CONVERT_INPUT:
			return DateStyle != USE_ISO_DATES || IntervalStyle == INTSTYLE_SQL_STANDARD || extra_float_digits < 1;
		default:
			return false;
	}
}

static Datum
to_jsonb_in_plain_style(DocConvert *convert, Datum datum)
{
	int level = NewGUCNestLevel();
	Datum jsonb;

	(void) set_config_option("datestyle", "ISO", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (IntervalStyle == INTSTYLE_SQL_STANDARD)
		(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("extra_float_digits", "1", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	jsonb = FunctionCall1(&convert->to_jsonb, datum);
	AtEOXact_GUC(true, level);
	return jsonb;
}

JsonbValue *
doc_convert_write(DocConvert *convert, Datum datum)
{
	if (convert->kind == DOC_CONVERT_JSONB)
		return doc_jsonb_value(DatumGetJsonbP(datum));
	if (has_own_style(convert))
		return doc_jsonb_value(DatumGetJsonbP(to_jsonb_in_plain_style(convert, datum)));
	return doc_jsonb_value(DatumGetJsonbP(FunctionCall1(&convert->to_jsonb, datum)));
}
