/*
 * compress.c - blocks compressed as LevelDB does it: snappy, zstd, or not at all.
 *
 * A block that would shrink by less than an eighth is stored as it is.  zstd's
 * contexts are large and slow to make, so each thread keeps its own until it
 * ends.
 */
#include "engine/table_builder.h"

#include <pthread.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zstd.h>

#include "engine/format.h"

/* How many times smaller than its contents a block can be: snappy copies at most 64 bytes for 3, and zstd repeats one
 * byte at most 128 KB long for 4.  So a damaged length cannot ask for much more memory than the block itself took. */
#define SNAPPY_RATIO 24
#define ZSTD_RATIO (128 * 1024)

typedef struct Contexts
{
	ZSTD_CCtx *compress;
	ZSTD_DCtx *decompress;
} Contexts;

static _Thread_local Contexts *contexts;
static pthread_key_t contexts_key; /* frees them when their thread ends */
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
static bool contexts_key_made;

static void
free_contexts(void *arg)
{
	Contexts *mine = arg;

	ZSTD_freeCCtx(mine->compress);
	ZSTD_freeDCtx(mine->decompress);
	free(mine);
	contexts = NULL;
}

static void
make_key(void)
{
	contexts_key_made = pthread_key_create(&contexts_key, free_contexts) == 0;
}

/* NULL when out of memory. */
static Contexts *
get_contexts(void)
{
	if (contexts != NULL)
		return contexts;
	(void) pthread_once(&contexts_once, make_key);
	contexts = calloc(1, sizeof(*contexts));
	/* Without a key the only harm is that an ending thread leaves its contexts behind. */
	if (contexts != NULL && contexts_key_made)
		(void) pthread_setspecific(contexts_key, contexts);
	return contexts;
}

/* Compresses into the room of `room` bytes at dst; returns the length, or 0. */
static size_t
zstd_compress(int level, LsmSlice raw, char *dst, size_t room)
{
	Contexts *mine = get_contexts();
	size_t len;

	if (mine == NULL)
		return 0;
	if (mine->compress == NULL && (mine->compress = ZSTD_createCCtx()) == NULL)
		return 0;
	len = ZSTD_compressCCtx(mine->compress, dst, room, raw.data, raw.len, level);
	return ZSTD_isError(len) ? 0 : len;
}

bool
lsm_compress(LsmCompression kind, int level, LsmSlice raw, LsmBuf *out)
{
	size_t room;
	size_t len = 0;
	char *dst;

	if (kind == LSM_COMPRESS_NONE)
		return false;
	room = kind == LSM_COMPRESS_SNAPPY ? snappy_max_compressed_length(raw.len) : ZSTD_compressBound(raw.len);
	if (!lsm_buf_reserve(out, room))
		return false;
	dst = out->data + out->len;
	if (kind == LSM_COMPRESS_ZSTD)
		len = zstd_compress(level, raw, dst, room);
	else if (snappy_compress(raw.data, raw.len, dst, &room) == SNAPPY_OK)
		len = room;
	if (len == 0 || len >= raw.len - raw.len / 8)
		return false;
	out->len += len;
	return true;
}

static LsmStatus
corrupt(LsmError *err, const char *what)
{
	return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "compressed block %s", what);
}

static LsmStatus
make_room(LsmBuf *out, uint64_t len, uint64_t stored, uint64_t ratio, LsmError *err)
{
	if (len > LSM_BLOCK_MAX || len / ratio > stored)
		return corrupt(err, "declares an impossible length");
	/* one byte more, so that there is an out->data also for nothing */
	if (!lsm_buf_reserve(out, (size_t) len + 1))
		return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
	return LSM_OK;
}

static LsmStatus
zstd_decompress(LsmSlice data, LsmBuf *out, LsmError *err)
{
	unsigned long long len = ZSTD_getFrameContentSize(data.data, data.len);
	Contexts *mine = get_contexts();
	LsmStatus status;

	if (len == ZSTD_CONTENTSIZE_UNKNOWN || len == ZSTD_CONTENTSIZE_ERROR)
		return corrupt(err, "does not declare its length");
	status = make_room(out, len, data.len, ZSTD_RATIO, err);
	if (status != LSM_OK)
		return status;
	if (mine == NULL || (mine->decompress == NULL && (mine->decompress = ZSTD_createDCtx()) == NULL))
		return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
	if (ZSTD_decompressDCtx(mine->decompress, out->data + out->len, (size_t) len, data.data, data.len) != len)
		return corrupt(err, "cannot be decompressed");
	out->len += (size_t) len;
	return LSM_OK;
}

LsmStatus
lsm_decompress(LsmCompression kind, LsmSlice data, LsmBuf *out, LsmError *err)
{
	size_t len;
	LsmStatus status;

	switch (kind)
	{
		case LSM_COMPRESS_NONE:
			return lsm_buf_append(out, data.data, data.len) ? LSM_OK
															: lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
		case LSM_COMPRESS_SNAPPY:
			if (snappy_uncompressed_length(data.data, data.len, &len) != SNAPPY_OK)
				return corrupt(err, "does not declare its length");
			status = make_room(out, len, data.len, SNAPPY_RATIO, err);
			if (status != LSM_OK)
				return status;
			if (snappy_uncompress(data.data, data.len, out->data + out->len, &len) != SNAPPY_OK)
				return corrupt(err, "cannot be decompressed");
			out->len += len;
			return LSM_OK;
		case LSM_COMPRESS_ZSTD:
			return zstd_decompress(data, out, err);
	}
	return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "block has an unknown type");
}
