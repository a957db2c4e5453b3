/*
 * model.h - something stupid and right to compare the store with.
 *
 * A test picks a fixed set of keys, sorted.  A state is an array with one cell
 * per key: is it there, and what are its value's length and hash.  A history is
 * the list of batches that were written, so that the state after any number of
 * them can be made again.
 */
#ifndef LSM_TEST_MODEL_H
#define LSM_TEST_MODEL_H

#include "engine/db.h"
#include "engine/test/test.h"

typedef struct Cell
{
	bool there;
	uint32_t len;
	uint64_t hash;
} Cell;

typedef struct Keys
{
	int count;
	LsmSlice *keys; /* ascending, all different */
	int from;       /* random batches change `span` keys from this one on ... */
	int span;       /* ... 0: all */
} Keys;

typedef struct Change
{
	int key; /* index into Keys */
	Cell cell;
} Change;

typedef struct Group
{
	int first; /* into changes */
	int count;
} Group;

typedef struct History
{
	Change *changes;
	int num_changes;
	int cap_changes;
	Group *groups; /* one for each batch */
	int num_groups;
	int cap_groups;
} History;

static inline void *
model_grow(void *array, int count, int *cap, size_t size)
{
	if (count < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 64;
	array = realloc(array, *cap * size);
	if (array == NULL)
		abort();
	return array;
}

static inline uint64_t
model_hash(LsmSlice data)
{
	uint64_t h = UINT64_C(0x9e3779b97f4a7c15) ^ data.len;
	uint64_t word;
	size_t i;

	for (i = 0; i < data.len; i += 8)
	{
		word = 0;
		memcpy(&word, data.data + i, data.len - i < 8 ? data.len - i : 8);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	return h;
}

static inline int
model_slice_order(const void *a, const void *b)
{
	return lsm_slice_compare(*(const LsmSlice *) a, *(const LsmSlice *) b);
}

/*
 * About n keys of the kinds that break things: the empty key, keys that are
 * prefixes of others, zeros and 0xff, long shared prefixes, and a few long ones.
 */
static inline Keys
model_keys_new(uint64_t seed, int n, bool with_empty)
{
	Keys keys = {.keys = calloc(n, sizeof(LsmSlice))};
	uint64_t random = seed * 2 + 1;
	int i;
	int kept = 0;

	for (i = 0; i < n; i++)
	{
		char buf[1100];
		size_t len;
		char *copy;

		switch (i == 0 && with_empty ? 99 : test_random(&random) % 8)
		{
			case 99:
				len = 0;
				break;
			case 0: /* runs of one byte: each a prefix of the next */
				len = 1 + test_random(&random) % 24;
				memset(buf, "\0a\xff"[test_random(&random) % 3], len);
				break;
			case 1: /* any bytes */
				for (len = 0; len < 2 + test_random(&random) % 6; len++)
					buf[len] = (char) test_random(&random);
				break;
			case 2:
				if (test_random(&random) % 8 == 0)
				{
					len = 200 + test_random(&random) % 800;
					memset(buf, 'L', len);
					buf[len - 1] = (char) test_random(&random);
					break;
				}
				/* FALLTHROUGH */
			default: /* clusters */
				len = snprintf(buf, sizeof(buf), "orders/%02d/lines/%04d", (int) (test_random(&random) % 7),
							   (int) (test_random(&random) % 2000));
				break;
		}
		copy = malloc(len + 1);
		memcpy(copy, buf, len);
		keys.keys[i] = lsm_slice(copy, len);
	}
	qsort(keys.keys, n, sizeof(LsmSlice), model_slice_order);
	for (i = 0; i < n; i++)
	{
		if (kept > 0 && lsm_slice_compare(keys.keys[kept - 1], keys.keys[i]) == 0)
			free((char *) keys.keys[i].data);
		else
			keys.keys[kept++] = keys.keys[i];
	}
	keys.count = kept;
	return keys;
}

static inline void
model_keys_free(Keys *keys)
{
	int i;

	for (i = 0; i < keys->count; i++)
		free((char *) keys->keys[i].data);
	free(keys->keys);
}

/* Index of the first key >= key; count if there is none. */
static inline int
model_lower_bound(const Keys *keys, LsmSlice key)
{
	int low = 0;
	int high = keys->count;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (lsm_slice_compare(keys->keys[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* A value of len bytes, half of them compressible. */
static inline LsmSlice
model_value(LsmBuf *buf, uint64_t seed, size_t len)
{
	uint64_t random = seed * 2 + 1;
	uint64_t word = 0;
	size_t i;

	lsm_buf_set(buf, NULL, 0);
	if (!lsm_buf_reserve(buf, len + 8))
		abort();
	for (i = 0; i < len; i += 8)
	{
		if (i % 16 == 0)
			word = test_random(&random);
		memcpy(buf->data + i, &word, len - i < 8 ? len - i : 8);
	}
	buf->len = len;
	return lsm_buf_slice(buf);
}

/* ---- states and histories ---- */

static inline Cell *
model_state_new(const Keys *keys)
{
	Cell *state = calloc(keys->count, sizeof(Cell));

	if (state == NULL)
		abort();
	return state;
}

static inline void
model_history_begin(History *history)
{
	history->groups = model_grow(history->groups, history->num_groups, &history->cap_groups, sizeof(Group));
	history->groups[history->num_groups].first = history->num_changes;
	history->groups[history->num_groups].count = 0;
	history->num_groups++;
}

static inline void
model_history_add(History *history, int key, Cell cell)
{
	history->changes = model_grow(history->changes, history->num_changes, &history->cap_changes, sizeof(Change));
	history->changes[history->num_changes].key = key;
	history->changes[history->num_changes].cell = cell;
	history->num_changes++;
	history->groups[history->num_groups - 1].count++;
}

static inline void
model_history_free(History *history)
{
	free(history->changes);
	free(history->groups);
}

static inline void
model_apply(Cell *state, const History *history, int group)
{
	int i;

	for (i = 0; i < history->groups[group].count; i++)
	{
		const Change *change = &history->changes[history->groups[group].first + i];

		state[change->key] = change->cell;
	}
}

/* Adds a random batch to the history and fills `batch` with it. */
static inline void
model_random_batch(History *history, const Keys *keys, LsmBatch *batch, uint64_t *random, int max_changes,
				   size_t max_value)
{
	int n = 1 + (int) (test_random(random) % max_changes);
	LsmBuf value = {0};

	lsm_batch_clear(batch);
	model_history_begin(history);
	while (n-- > 0)
	{
		int key = keys->from + (int) (test_random(random) % (keys->span > 0 ? keys->span : keys->count));
		Cell cell = {0};

		if (test_random(random) % 4 == 0)
		{
			if (!lsm_batch_delete(batch, keys->keys[key]))
				abort();
		}
		else
		{
			size_t len = test_random(random) % (max_value + 1);

			if (test_random(random) % 8 == 0)
				len = 0;
			cell.there = true;
			cell.len = (uint32_t) len;
			cell.hash = model_hash(model_value(&value, test_random(random), len));
			if (!lsm_batch_put(batch, keys->keys[key], lsm_buf_slice(&value)))
				abort();
		}
		model_history_add(history, key, cell);
	}
	lsm_buf_free(&value);
}

static inline bool
model_same(const Keys *keys, const Cell *a, const Cell *b)
{
	int i;

	for (i = 0; i < keys->count; i++)
		if (a[i].there != b[i].there || (a[i].there && (a[i].len != b[i].len || a[i].hash != b[i].hash)))
			return false;
	return true;
}

/* ---- reading a store into a state ---- */

static inline const char *
model_key_text(LsmSlice key)
{
	static char text[128];
	size_t n = 0;
	size_t i;

	for (i = 0; i < key.len && n < sizeof(text) - 8; i++)
	{
		unsigned char c = (unsigned char) key.data[i];

		if (c > ' ' && c < 127)
			text[n++] = (char) c;
		else
			n += (size_t) snprintf(text + n, 5, "\\x%02x", c);
	}
	text[n] = 0;
	return text;
}

/*
 * Reads everything `read` sees, forward, backward and by lsm_get, and sees to it
 * that the three agree.  LSM_INVALID with a message: they do not, or a key that
 * nobody wrote came up; another error: the store's, in *err.
 */
static inline LsmStatus
model_read(LsmDb *db, const LsmRead *read, const Keys *keys, Cell *found, char *message, size_t message_size,
		   LsmError *err)
{
	Cell *backward = model_state_new(keys);
	LsmSlice none = {NULL, 0};
	LsmScan *scan = NULL;
	LsmBuf value = {0};
	LsmStatus status;
	int direction;
	int i;

	memset(found, 0, keys->count * sizeof(Cell));
	message[0] = 0;
	status = lsm_scan_open(db, read, none, none, &scan, err);
	for (direction = 0; direction < 2 && status == LSM_OK; direction++)
	{
		Cell *state = direction == 0 ? found : backward;
		int previous = direction == 0 ? -1 : keys->count;

		for (direction == 0 ? lsm_scan_first(scan) : lsm_scan_last(scan); scan->valid;
			 direction == 0 ? lsm_scan_next(scan) : lsm_scan_prev(scan))
		{
			i = model_lower_bound(keys, scan->key);
			if (i == keys->count || lsm_slice_compare(keys->keys[i], scan->key) != 0)
			{
				snprintf(message, message_size, "scan: a key that was never written: %s", model_key_text(scan->key));
				status = LSM_INVALID;
				goto done;
			}
			if (direction == 0 ? i <= previous : i >= previous)
			{
				snprintf(message, message_size, "scan: out of order at key %s", model_key_text(scan->key));
				status = LSM_INVALID;
				goto done;
			}
			previous = i;
			state[i].there = true;
			state[i].len = (uint32_t) scan->value.len;
			state[i].hash = model_hash(scan->value);
		}
		status = scan->status;
		if (status != LSM_OK && err != NULL)
			*err = scan->err;
	}
	if (status == LSM_OK && !model_same(keys, found, backward))
	{
		snprintf(message, message_size, "scans forward and backward differ");
		status = LSM_INVALID;
		goto done;
	}
	for (i = 0; i < keys->count && status == LSM_OK; i++)
	{
		LsmVersion version;

		status = lsm_get(db, read, keys->keys[i], &value, &version, err);
		if (status == LSM_NOT_FOUND && !found[i].there)
			status = LSM_OK;
		else if (status == LSM_NOT_FOUND ||
				 (status == LSM_OK && (!found[i].there || found[i].len != value.len ||
									   found[i].hash != model_hash(lsm_buf_slice(&value)))))
		{
			snprintf(message, message_size, "get and scan differ for key %s", model_key_text(keys->keys[i]));
			status = LSM_INVALID;
		}
	}

done:
	if (scan != NULL)
		lsm_scan_close(scan);
	lsm_buf_free(&value);
	free(backward);
	return status;
}

/* Names the first difference, for messages. */
static inline void
model_explain(const Keys *keys, const Cell *expected, const Cell *found, char *message, size_t message_size)
{
	int i;

	for (i = 0; i < keys->count; i++)
	{
		const Cell *a = &expected[i];
		const Cell *b = &found[i];

		if (a->there == b->there && (!a->there || (a->len == b->len && a->hash == b->hash)))
			continue;
		snprintf(message, message_size, "key %s: expected %s (%u bytes), found %s (%u bytes)",
				 model_key_text(keys->keys[i]), a->there ? "a value" : "none", a->len, b->there ? "a value" : "none",
				 b->len);
		return;
	}
	snprintf(message, message_size, "no difference");
}

#endif
