/*
 * sums.c - adds and subtracts where a reduce would add up everything again (sums.h).
 *
 * Integers are simple: their sum is exact, and an overflow is left to the reduce, whose error it
 * is.  The sum of numerics has as many decimals as the value with the most, so when the last
 * one that has so many goes, only the others could say what is left.  NaN and the infinities hide what
 * else is there.  Floating point numbers depend on the order in which they are added, and are not changed here.
 */
#include "postgres.h"

#include "view/sums.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "view/reduce_query.h"

/* A column while it is computed. */
typedef struct Sum
{
	Oid type; /* InvalidOid: not summed, but grouped by */
	uint32 count;
	uint32 widest;
	int scale;
	int64 whole;
	Numeric exact; /* NULL: 0 */
} Sum;

struct ViewSums
{
	MemoryContext scratch;
	int ncolumns;
	ViewLayout *layout;
	Sum *sums;
	Datum *values;
	bool *nulls;
	Datum *row_values;
	bool *row_nulls;
	StringInfoData tail;
};

ViewSums *
view_sums_new(const View *view)
{
	int n = view->rows->ncolumns;
	ViewSums *sums;

	if (!view_reduce_only_sums(view->reduce, view->rows))
		return NULL;
	sums = palloc0(sizeof(ViewSums));
	sums->scratch = AllocSetContextCreate(CurrentMemoryContext, "docstore sums", ALLOCSET_SMALL_SIZES);
	sums->ncolumns = n;
	sums->layout = view_layout(view->rows);
	initStringInfo(&sums->tail);
	sums->sums = palloc0(n * sizeof(Sum));
	sums->values = palloc(n * sizeof(Datum));
	sums->nulls = palloc(n * sizeof(bool));
	sums->row_values = palloc(n * sizeof(Datum));
	sums->row_nulls = palloc(n * sizeof(bool));
	for (int i = 0; i < n; i++)
		sums->sums[i].type = view->rows->columns[i].type;
	for (int i = 0; i < view->rows->nkeys; i++)
		sums->sums[view->rows->key_attribute[i] - 1].type = InvalidOid;
	return sums;
}

/* ---- how many there are ---- */

/* False: it has no decimals, and is no difference of others either. */
static bool
find_scale(Numeric number, int *scale)
{
	*scale = 0;
	if (numeric_is_nan(number) || numeric_is_inf(number))
		return false;
	*scale = DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number)));
	return true;
}

static void
count(Sum *sum, uint32 values, uint32 widest, int scale)
{
	if (values == 0)
		return;
	if (sum->count == 0 || scale > sum->scale)
	{
		sum->scale = scale;
		sum->widest = 0;
	}
	if (scale == sum->scale)
		sum->widest += widest;
	sum->count += values;
}

static void
take_tail(const Sum *sum, LsmSlice *rest, uint32 *values, uint32 *widest)
{
	*values = view_entry_take_number(rest);
	*widest = sum->type == NUMERICOID ? view_entry_take_number(rest) : *values;
}

static void
append_tail(const ViewSums *sums, StringInfo tail)
{
	for (int i = 0; i < sums->ncolumns; i++)
	{
		const Sum *sum = &sums->sums[i];

		if (!OidIsValid(sum->type))
			continue;
		view_entry_append_number(tail, sum->count);
		if (sum->type == NUMERICOID)
			view_entry_append_number(tail, sum->widest);
	}
}

void
view_sums_begin(ViewSums *sums)
{
	for (int i = 0; i < sums->ncolumns; i++)
	{
		Oid type = sums->sums[i].type;

		memset(&sums->sums[i], 0, sizeof(Sum));
		sums->sums[i].type = type;
	}
}

void
view_sums_count(ViewSums *sums, bool parts, const Datum *values, const bool *nulls, LsmSlice rest)
{
	for (int i = 0; i < sums->ncolumns; i++)
	{
		Sum *sum = &sums->sums[i];
		uint32 n = nulls[i] ? 0 : 1;
		uint32 widest = n;
		int scale = 0;

		if (!OidIsValid(sum->type))
			continue;
		if (parts)
			take_tail(sum, &rest, &n, &widest);
		if (sum->type == NUMERICOID && !nulls[i])
			(void) find_scale(DatumGetNumeric(values[i]), &scale);
		count(sum, n, widest, scale);
	}
}

LsmSlice
view_sums_end(ViewSums *sums)
{
	resetStringInfo(&sums->tail);
	append_tail(sums, &sums->tail);
	return lsm_slice(sums->tail.data, sums->tail.len);
}

/* ---- what they come to ---- */

static int64
get_whole(Oid type, Datum value)
{
	if (type == INT2OID)
		return DatumGetInt16(value);
	return type == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

/* False: it is too large for the type. */
static bool
set_whole(Oid type, int64 whole, Datum *value)
{
	if (type == INT2OID)
		*value = Int16GetDatum((int16) whole);
	else
		*value = type == INT4OID ? Int32GetDatum((int32) whole) : Int64GetDatum(whole);
	return get_whole(type, *value) == whole;
}

/* A value comes or goes.  False: what comes of it cannot be known. */
static bool
add(Sum *sum, Datum value, bool comes)
{
	bool failed = false;
	Numeric number = NULL;
	Numeric exact;
	int scale = 0;

	if (sum->type == NUMERICOID)
	{
		number = DatumGetNumeric(value);
		if (!find_scale(number, &scale))
			return false;
	}
	if (comes)
		count(sum, 1, 1, scale);
	else
	{
		sum->count--;
		sum->widest -= scale == sum->scale ? 1 : 0;
	}
	if (number == NULL)
		return comes ? !pg_add_s64_overflow(sum->whole, get_whole(sum->type, value), &sum->whole)
					 : !pg_sub_s64_overflow(sum->whole, get_whole(sum->type, value), &sum->whole);
	exact = sum->exact != NULL ? sum->exact : int64_to_numeric(0);
	sum->exact = comes ? numeric_add_opt_error(exact, number, &failed) : numeric_sub_opt_error(exact, number, &failed);
	return !failed;
}

static bool
apply(ViewSums *sums, const ViewChange *change)
{
	(void) view_entry_read(sums->layout, change->value, NULL, sums->row_values, sums->row_nulls);
	for (int i = 0; i < sums->ncolumns; i++)
		if (OidIsValid(sums->sums[i].type) && !sums->row_nulls[i] && !add(&sums->sums[i], sums->row_values[i], change->delta > 0))
			return false;
	return true;
}

static bool
begin(ViewSums *sums, LsmSlice before)
{
	LsmSlice rest = view_entry_read(sums->layout, before, NULL, sums->values, sums->nulls);

	view_sums_begin(sums);
	for (int i = 0; i < sums->ncolumns; i++)
	{
		Sum *sum = &sums->sums[i];

		if (!OidIsValid(sum->type))
			continue;
		take_tail(sum, &rest, &sum->count, &sum->widest);
		if (sums->nulls[i])
			continue;
		if (sum->type != NUMERICOID)
			sum->whole = get_whole(sum->type, sums->values[i]);
		else
		{
			sum->exact = DatumGetNumeric(sums->values[i]);
			if (!find_scale(sum->exact, &sum->scale))
				return false;
		}
	}
	return true;
}

/* The sums become what a result says. */
static bool
end(ViewSums *sums)
{
	for (int i = 0; i < sums->ncolumns; i++)
	{
		Sum *sum = &sums->sums[i];

		if (!OidIsValid(sum->type))
			continue;
		sums->nulls[i] = sum->count == 0;
		if (sum->count == 0)
			sum->widest = 0;
		else if (sum->type != NUMERICOID)
		{
			if (!set_whole(sum->type, sum->whole, &sums->values[i]))
				return false;
		}
		else if (sum->widest == 0)
			return false;
		else
			sums->values[i] = NumericGetDatum(sum->exact);
	}
	return true;
}

bool
view_sums_change(ViewSums *sums, LsmSlice before, const ViewChange *changes, int n, uint32 rows, StringInfo result)
{
	MemoryContext old = MemoryContextSwitchTo(sums->scratch);
	bool known = begin(sums, before);

	/* What comes first: then there always is what goes. */
	for (int comes = 1; comes >= 0; comes--)
		for (int i = 0; i < n && known; i++)
			if ((changes[i].delta > 0) == comes)
				known = apply(sums, &changes[i]);
	known = known && end(sums);
	MemoryContextSwitchTo(old);
	if (known)
	{
		view_entry_value(result, sums->layout, rows, sums->values, sums->nulls);
		append_tail(sums, result);
	}
	MemoryContextReset(sums->scratch);
	return known;
}
