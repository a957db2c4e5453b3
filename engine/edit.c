/*
 * edit.c - version edits and their bytes in the manifest.
 *
 * LevelDB's form (db/version_edit.cc): a sequence of varint32 tags, each followed by its data:
 *
 *     1 comparator        varint32-prefixed name
 *     2 log number        varint64
 *     3 next file number  varint64
 *     4 last sequence     varint64
 *     5 compact pointer   varint32 level, varint32-prefixed internal key
 *     6 deleted file      varint32 level, varint64 number
 *     7 new file          varint32 level, varint64 number, varint64 size,
 *                         varint32-prefixed smallest and largest internal key
 *     9 prev log number   varint64 (LevelDB's of old; written as 0)
 *
 * Compact pointers are read over: our choice of inputs (pick.c) needs none.
 */
#include "engine/version.h"

#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"

enum
{
	TAG_COMPARATOR = 1,
	TAG_LOG_NUMBER = 2,
	TAG_NEXT_FILE = 3,
	TAG_LAST_SEQ = 4,
	TAG_COMPACT_POINTER = 5,
	TAG_DELETED_FILE = 6,
	TAG_NEW_FILE = 7,
	TAG_PREV_LOG_NUMBER = 9
};

static bool
grow(LsmLevelFile **list, int n, int *cap)
{
	LsmLevelFile *bigger;
	int more = *cap > 0 ? *cap * 2 : 8;

	if (n < *cap)
		return true;
	bigger = realloc(*list, (size_t) more * sizeof(*bigger));
	if (bigger == NULL)
		return false;
	*list = bigger;
	*cap = more;
	return true;
}

bool
lsm_edit_delete(LsmEdit *edit, int level, uint64_t number)
{
	if (!grow(&edit->deleted, edit->ndeleted, &edit->cap_deleted))
		return false;
	edit->deleted[edit->ndeleted++] = (LsmLevelFile){level, number, NULL};
	return true;
}

bool
lsm_edit_add(LsmEdit *edit, int level, LsmFileMeta *file)
{
	if (!grow(&edit->added, edit->nadded, &edit->cap_added))
		return false;
	lsm_file_ref(file);
	edit->added[edit->nadded++] = (LsmLevelFile){level, file->number, file};
	return true;
}

void
lsm_edit_free(LsmEdit *edit)
{
	for (int i = 0; i < edit->nadded; i++)
		lsm_file_unref(edit->added[i].file);
	free(edit->added);
	free(edit->deleted);
	memset(edit, 0, sizeof(*edit));
}

static bool
put_number(LsmBuf *out, uint32_t tag, uint64_t number)
{
	return lsm_buf_put_varint32(out, tag) && lsm_buf_put_varint64(out, number);
}

bool
lsm_edit_encode(const LsmEdit *edit, LsmBuf *out)
{
	if (edit->has_comparator &&
		!(lsm_buf_put_varint32(out, TAG_COMPARATOR) &&
		  lsm_buf_put_slice(out, lsm_slice(LSM_COMPARATOR_NAME, strlen(LSM_COMPARATOR_NAME)))))
		return false;
	if (edit->has_log_number && !put_number(out, TAG_LOG_NUMBER, edit->log_number))
		return false;
	if (edit->has_prev_log_number && !put_number(out, TAG_PREV_LOG_NUMBER, edit->prev_log_number))
		return false;
	if (edit->has_next_file && !put_number(out, TAG_NEXT_FILE, edit->next_file))
		return false;
	if (edit->has_last_seq && !put_number(out, TAG_LAST_SEQ, edit->last_seq))
		return false;
	for (int i = 0; i < edit->ndeleted; i++)
	{
		if (!(lsm_buf_put_varint32(out, TAG_DELETED_FILE) &&
			  lsm_buf_put_varint32(out, (uint32_t) edit->deleted[i].level) &&
			  lsm_buf_put_varint64(out, edit->deleted[i].number)))
			return false;
	}
	for (int i = 0; i < edit->nadded; i++)
	{
		const LsmFileMeta *file = edit->added[i].file;

		if (!(lsm_buf_put_varint32(out, TAG_NEW_FILE) &&
			  lsm_buf_put_varint32(out, (uint32_t) edit->added[i].level) &&
			  lsm_buf_put_varint64(out, file->number) && lsm_buf_put_varint64(out, file->size) &&
			  lsm_buf_put_slice(out, file->smallest) && lsm_buf_put_slice(out, file->largest)))
			return false;
	}
	return true;
}

/* A record being taken apart; ok turns false at the first thing that does not fit. */
typedef struct Cursor
{
	const char *p;
	const char *end;
	bool ok;
} Cursor;

static uint32_t
get32(Cursor *in)
{
	uint32_t value = 0;
	const char *p = in->ok ? lsm_get_varint32(in->p, in->end, &value) : NULL;

	if (p == NULL)
	{
		in->ok = false;
		return 0;
	}
	in->p = p;
	return value;
}

static uint64_t
get64(Cursor *in)
{
	uint64_t value = 0;
	const char *p = in->ok ? lsm_get_varint64(in->p, in->end, &value) : NULL;

	if (p == NULL)
	{
		in->ok = false;
		return 0;
	}
	in->p = p;
	return value;
}

static LsmSlice
get_slice(Cursor *in)
{
	LsmSlice slice = {NULL, 0};

	if (in->ok)
		in->ok = lsm_get_slice(&in->p, in->end, &slice);
	return slice;
}

static int
get_level(Cursor *in)
{
	uint32_t level = get32(in);

	if (level >= LSM_NUM_LEVELS)
	{
		in->ok = false;
		return 0;
	}
	return (int) level;
}

static LsmSlice
get_ikey(Cursor *in)
{
	LsmSlice ikey = get_slice(in);

	if (in->ok && !lsm_ikey_ok(ikey))
		in->ok = false;
	return ikey;
}

static LsmStatus
decode_new_file(Cursor *in, LsmEdit *edit, LsmError *err)
{
	int level = get_level(in);
	uint64_t number = get64(in);
	uint64_t size = get64(in);
	LsmSlice smallest = get_ikey(in);
	LsmSlice largest = get_ikey(in);
	LsmFileMeta *file;
	bool added;

	if (!in->ok)
		return LSM_OK; /* the caller reports it */
	if (lsm_ikey_compare(smallest, largest) > 0)
	{
		in->ok = false;
		return LSM_OK;
	}
	file = lsm_file_new(number, size, smallest, largest);
	added = file != NULL && lsm_edit_add(edit, level, file);
	if (file != NULL)
		lsm_file_unref(file);
	return added ? LSM_OK : lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
}

/* What follows one tag. */
static LsmStatus
decode_field(uint32_t tag, Cursor *in, LsmEdit *edit, const char *name, uint64_t offset, LsmError *err)
{
	LsmSlice comparator;
	int level;

	switch (tag)
	{
		case TAG_COMPARATOR:
			comparator = get_slice(in);
			if (in->ok &&
				lsm_slice_compare(comparator, lsm_slice(LSM_COMPARATOR_NAME, strlen(LSM_COMPARATOR_NAME))) != 0)
				return lsm_fail(err, LSM_INVALID, 0, name, offset, "the store uses another comparator: %.*s",
								(int) (comparator.len < 100 ? comparator.len : 100), comparator.data);
			edit->has_comparator = true;
			break;
		case TAG_LOG_NUMBER:
			edit->log_number = get64(in);
			edit->has_log_number = true;
			break;
		case TAG_PREV_LOG_NUMBER:
			edit->prev_log_number = get64(in);
			edit->has_prev_log_number = true;
			break;
		case TAG_NEXT_FILE:
			edit->next_file = get64(in);
			edit->has_next_file = true;
			break;
		case TAG_LAST_SEQ:
			edit->last_seq = get64(in);
			edit->has_last_seq = true;
			break;
		case TAG_COMPACT_POINTER:
			(void) get_level(in);
			(void) get_ikey(in);
			break;
		case TAG_DELETED_FILE:
			level = get_level(in);
			if (!lsm_edit_delete(edit, level, get64(in)))
				return lsm_fail(err, LSM_NO_MEMORY, 0, name, offset, "out of memory");
			break;
		case TAG_NEW_FILE:
			return decode_new_file(in, edit, err);
		default:
			in->ok = false;
	}
	return LSM_OK;
}

LsmStatus
lsm_edit_decode(LsmSlice record, LsmEdit *edit, const char *name, uint64_t offset, LsmError *err)
{
	/* an empty record may have no data at all */
	Cursor in = {record.data, record.len > 0 ? record.data + record.len : record.data, true};

	while (in.ok && in.p < in.end)
	{
		uint32_t tag = get32(&in);
		LsmStatus status;

		if (!in.ok)
			break;
		status = decode_field(tag, &in, edit, name, offset, err);
		if (status != LSM_OK)
			return status;
		if (!in.ok)
			return lsm_fail(err, LSM_CORRUPT, 0, name, offset, "bad field with tag %u in a version edit", tag);
	}
	if (!in.ok)
		return lsm_fail(err, LSM_CORRUPT, 0, name, offset, "bad tag in a version edit");
	return LSM_OK;
}
