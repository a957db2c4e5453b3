/*
 * table_kit.h - what the tests of tables share: a sorted array of entries, the
 * table made from it on the simulated disk, and the comparison of both.
 */
#ifndef LSM_TABLE_KIT_H
#define LSM_TABLE_KIT_H

#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/env_sim.h"
#include "engine/format.h"
#include "engine/table_builder.h"
#include "engine/test/test.h"

#define KIT_MAX 3000

typedef struct KitEntry
{
	LsmSlice ikey; /* owned */
	LsmSlice value;
} KitEntry;

typedef struct Kit
{
	LsmEnv *env;
	LsmCache *cache; /* may be NULL */
	KitEntry entries[KIT_MAX];
	int n;
	uint64_t number;
	uint64_t size;
	LsmTableProps props; /* as they must be */
} Kit;

static uint64_t kit_rnd;
static LsmError kit_err;

static inline uint64_t
kit_random(uint64_t below)
{
	return below == 0 ? 0 : test_random(&kit_rnd) % below;
}

static inline LsmSlice
kit_copy(const void *data, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);

	if (len > 0)
		memcpy(copy, data, len);
	return lsm_slice(copy, len);
}

static inline void
kit_clear(Kit *kit)
{
	for (int i = 0; i < kit->n; i++)
	{
		free((char *) kit->entries[i].ikey.data);
		free((char *) kit->entries[i].value.data);
	}
	kit->n = 0;
	memset(&kit->props, 0, sizeof(kit->props));
}

static inline void
kit_add(Kit *kit, LsmSlice user, uint64_t seq, LsmType type, LsmSlice value)
{
	LsmBuf ikey = {0};

	if (kit->n == KIT_MAX)
		return;
	lsm_ikey_append(&ikey, user, seq, type);
	kit->entries[kit->n].ikey = kit_copy(ikey.data, ikey.len);
	kit->entries[kit->n].value = kit_copy(value.data, value.len);
	kit->n++;
	lsm_buf_free(&ikey);
}

static inline int
kit_compare(const void *a, const void *b)
{
	return lsm_ikey_compare(((const KitEntry *) a)->ikey, ((const KitEntry *) b)->ikey);
}

/* Order, no two the same, and the properties that the table must have. */
static inline void
kit_sort(Kit *kit, bool stamped)
{
	int kept = 0;

	qsort(kit->entries, (size_t) kit->n, sizeof(KitEntry), kit_compare);
	for (int i = 0; i < kit->n; i++)
	{
		if (kept > 0 && kit_compare(&kit->entries[kept - 1], &kit->entries[i]) == 0)
		{
			free((char *) kit->entries[i].ikey.data);
			free((char *) kit->entries[i].value.data);
		}
		else
			kit->entries[kept++] = kit->entries[i];
	}
	kit->n = kept;
	memset(&kit->props, 0, sizeof(kit->props));
	if (!stamped)
		return;
	kit->props.known = true;
	for (int i = 0; i < kit->n; i++)
	{
		const KitEntry *entry = &kit->entries[i];
		LsmStamp stamp = {LSM_STAMP_DELETE, 0, 0};
		LsmSlice payload;

		if (lsm_ikey_type(entry->ikey) == LSM_TYPE_VALUE)
			(void) lsm_stamp_decode(entry->value, &stamp, &payload);
		kit->props.entries++;
		kit->props.deletions += (stamp.flags & LSM_STAMP_DELETE) != 0;
		kit->props.raw_bytes += entry->ikey.len + entry->value.len;
		if (stamp.xid != 0 && (kit->props.min_xid == 0 || stamp.xid < kit->props.min_xid))
			kit->props.min_xid = stamp.xid;
		if (lsm_ikey_seq(entry->ikey) > kit->props.max_seq)
			kit->props.max_seq = lsm_ikey_seq(entry->ikey);
		if (i == 0 || lsm_ikey_seq(entry->ikey) < kit->props.min_seq)
			kit->props.min_seq = lsm_ikey_seq(entry->ikey);
	}
}

/* Random bytes of which half compress, behind a random stamp if there is to be one. */
static inline LsmSlice
kit_value(char *buf, size_t len, bool stamped)
{
	size_t at = 0;

	if (stamped)
	{
		LsmStamp stamp = {0, 0, 0};

		if (kit_random(3) == 0)
		{
			stamp.flags = LSM_STAMP_XACT;
			stamp.xid = 5000 + kit_random(1000);
			stamp.cid = (uint32_t) kit_random(10);
		}
		if (kit_random(8) == 0)
		{
			stamp.flags |= LSM_STAMP_DELETE;
			len = 0;
		}
		at = lsm_stamp_encode(buf, &stamp);
	}
	for (size_t i = 0; i < len; i++)
		buf[at + i] = (char) (i % 64 < 32 ? test_random(&kit_rnd) : 'x');
	return lsm_slice(buf, at + len);
}

/* Writes the table under a new number. */
static inline void
kit_build(Kit *kit, const LsmTableOptions *options)
{
	LsmTableBuilder *builder;
	LsmFile *file;
	char name[64];

	lsm_file_name(name, LSM_FILE_TABLE, ++kit->number);
	MUST(lsm_file_open(kit->env, name, LSM_OPEN_CREATE, &file, &kit_err), &kit_err);
	MUST(lsm_table_builder_new(file, options, &builder, &kit_err), &kit_err);
	for (int i = 0; i < kit->n; i++)
		MUST(lsm_table_builder_add(builder, kit->entries[i].ikey, kit->entries[i].value, &kit_err), &kit_err);
	MUST(lsm_table_builder_finish(builder, &kit->size, &kit_err), &kit_err);
	if (options->stamped)
		CHECK(memcmp(lsm_table_builder_props(builder), &kit->props, sizeof(kit->props)) == 0);
	lsm_table_builder_free(builder);
	lsm_file_close(file);
}

/* Writes these bytes as a table under a new number. */
static inline void
kit_put_file(Kit *kit, LsmSlice bytes)
{
	LsmFile *file;
	char name[64];

	lsm_file_name(name, LSM_FILE_TABLE, ++kit->number);
	MUST(lsm_file_open(kit->env, name, LSM_OPEN_CREATE, &file, &kit_err), &kit_err);
	if (bytes.len > 0)
		MUST(lsm_file_append(file, bytes.data, bytes.len, &kit_err), &kit_err);
	MUST(lsm_file_sync(file, &kit_err), &kit_err);
	lsm_file_close(file);
	kit->size = bytes.len;
}

/* The bytes of the table, from malloc. */
static inline LsmSlice
kit_file_bytes(Kit *kit)
{
	char *bytes = malloc(kit->size > 0 ? kit->size : 1);
	LsmFile *file;
	size_t got = 0;
	char name[64];

	lsm_file_name(name, LSM_FILE_TABLE, kit->number);
	MUST(lsm_file_open(kit->env, name, LSM_OPEN_READ, &file, &kit_err), &kit_err);
	MUST(lsm_file_read(file, 0, bytes, kit->size, &got, &kit_err), &kit_err);
	lsm_file_close(file);
	return lsm_slice(bytes, got);
}

static inline void
kit_remove(Kit *kit)
{
	char name[64];

	lsm_file_name(name, LSM_FILE_TABLE, kit->number);
	MUST(kit->env->ops->remove(kit->env, name, &kit_err), &kit_err);
}

static inline bool
kit_is_at(const Kit *kit, const LsmIter *it, int i)
{
	if (it->status != LSM_OK)
		return false;
	if (i < 0 || i >= kit->n)
		return !it->valid;
	return it->valid && lsm_slice_compare(it->key, kit->entries[i].ikey) == 0 &&
		   lsm_slice_compare(it->value, kit->entries[i].value) == 0;
}

static inline int
kit_first_not_below(const Kit *kit, LsmSlice ikey)
{
	int low = 0;
	int high = kit->n;

	while (low < high)
	{
		int mid = (low + high) / 2;

		if (lsm_ikey_compare(kit->entries[mid].ikey, ikey) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Checks that a get is given what it must be, in order. */
typedef struct KitVisit
{
	const Kit *kit;
	int next; /* the entry that must come */
	int left; /* how many to accept before stopping; -1: all */
	bool right;
} KitVisit;

static inline bool
kit_visit(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	KitVisit *visit = arg;

	if (hint != NULL || visit->next >= visit->kit->n ||
		lsm_slice_compare(ikey, visit->kit->entries[visit->next].ikey) != 0 ||
		lsm_slice_compare(value, visit->kit->entries[visit->next].value) != 0)
		visit->right = false;
	visit->next++;
	return visit->left < 0 || --visit->left > 0;
}

/* A get, compared with the array.  Without damage (`sound`) it must succeed; with it, fail or be right. */
static inline bool
kit_get_is_right(const Kit *kit, LsmTable *table, LsmSlice user, uint64_t max_seq, int stop_after, bool sound)
{
	LsmBuf target = {0};
	KitVisit visit = {kit, 0, stop_after, true};
	bool stopped;
	bool filtered;
	int first;
	int end;
	LsmStatus status;

	lsm_ikey_append(&target, user, max_seq, LSM_TYPE_FOR_SEEK);
	first = kit_first_not_below(kit, lsm_buf_slice(&target));
	for (end = first; end < kit->n && lsm_slice_compare(lsm_ikey_user(kit->entries[end].ikey), user) == 0; end++)
		;
	if (stop_after >= 0 && end - first > stop_after)
		end = first + stop_after;
	lsm_buf_free(&target);

	visit.next = first;
	memset(&kit_err, 0, sizeof(kit_err));
	status = lsm_table_get(table, user, max_seq, kit_visit, &visit, &stopped, &filtered, &kit_err);
	if (status != LSM_OK)
		return !sound && visit.right && status == LSM_CORRUPT && kit_err.status == status && kit_err.file[0] != 0;
	return visit.right && visit.next == end && stopped == (stop_after >= 0 && end - first == stop_after) &&
		   (!filtered || first == end);
}

typedef struct KitDamages
{
	int n;
	LsmError last;
} KitDamages;

static inline void
kit_damage(void *arg, const LsmError *what)
{
	KitDamages *damages = arg;

	CHECK(what->status == LSM_CORRUPT && what->file[0] != 0 && what->text[0] != 0);
	damages->n++;
	damages->last = *what;
}

/* 30 keys, some with two versions, in blocks of a few entries. */
static inline void
kit_small_table(Kit *kit, LsmCompression compression, bool stamped)
{
	LsmTableOptions options = {200, 4, 0, 10, compression, 1, stamped, true};
	char key[32];
	char value[100];

	kit_clear(kit);
	for (int i = 0; i < 30; i++)
	{
		LsmSlice user = lsm_slice(key, (size_t) snprintf(key, sizeof(key), "doc/%04d", i * 7));

		kit_add(kit, user, 100 + (uint64_t) i, LSM_TYPE_VALUE, kit_value(value, kit_random(60), stamped));
		if (i % 4 == 0)
			kit_add(kit, user, 50, stamped ? LSM_TYPE_VALUE : LSM_TYPE_DELETION, kit_value(value, 0, stamped));
	}
	kit_sort(kit, stamped);
	kit_build(kit, &options);
}

/* Adds a stored block with a checksum that fits. */
static inline LsmBlockHandle
kit_put_block(LsmBuf *file, LsmSlice contents, int type)
{
	LsmBlockHandle handle = {file->len, contents.len};
	char type_byte = (char) type;

	lsm_buf_append(file, contents.data, contents.len);
	lsm_buf_append(file, &type_byte, 1);
	lsm_buf_put_fixed32(file, lsm_crc32c_mask(lsm_crc32c(file->data + handle.offset, contents.len + 1)));
	return handle;
}

#endif
