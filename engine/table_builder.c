/*
 * table_builder.c - see table_builder.h; the file's grammar is in format.h.
 *
 * The index entry of a data block is written when the next block's first key is
 * known, because then a short key between the two will do: between "the quick
 * brown fox" and "the who", "the r".
 *
 * Without stamps the file equals what LevelDB writes for the same entries.  With
 * stamps it differs in three ways that LevelDB reads as well: there are properties; the index says
 * which sequences a block holds; and a data block is closed before the entry that would make it too large, not
 * after, so that it fits a frame of the block cache.
 */
#include "engine/table_builder.h"

#include <stdlib.h>
#include <string.h>

#include "engine/block_builder.h"
#include "engine/bloom.h"
#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/format.h"

#define WRITE_SIZE (128 * 1024) /* bytes gathered for one write */

struct LsmTableBuilder
{
	LsmFile *file;
	LsmTableOptions options;
	LsmTableProps props;
	uint64_t offset; /* where the next block will begin */
	LsmBuf out;      /* the last of the bytes before offset, not written yet */
	LsmBlockBuilder data;
	LsmBlockBuilder index;
	LsmFilterBuilder filter;
	LsmBuf last_key;
	bool pending; /* the block at pending_handle has no index entry yet; the data block is empty */
	LsmBlockHandle pending_handle;
	LsmSeqs seqs;    /* of that block, or of the open one */
	LsmError failed; /* once set, it is the answer to everything */
};

static LsmStatus
fail(LsmTableBuilder *builder, LsmStatus status, const char *text, LsmError *err)
{
	lsm_fail(&builder->failed, status, 0, builder->file->name, builder->offset, "%s", text);
	if (err != NULL)
		*err = builder->failed;
	return status;
}

static LsmStatus
no_memory(LsmTableBuilder *builder, LsmError *err)
{
	return fail(builder, LSM_NO_MEMORY, "out of memory", err);
}

LsmStatus
lsm_table_builder_new(LsmFile *file, const LsmTableOptions *options, LsmTableBuilder **result, LsmError *err)
{
	LsmTableBuilder *builder;

	*result = NULL;
	if (options->block_size > LSM_BLOCK_SIZE_MAX || options->restart_interval < 1 || options->bloom_bits < 0)
		return lsm_fail(err, LSM_INVALID, 0, file->name, 0, "impossible table options");
	builder = calloc(1, sizeof(*builder));
	if (builder == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, file->name, 0, "out of memory");
	builder->file = file;
	builder->options = *options;
	builder->props.known = options->stamped;
	lsm_block_builder_init(&builder->data, options->restart_interval, options->restart_spread);
	lsm_block_builder_init(&builder->index, 1, 0);
	lsm_filter_builder_init(&builder->filter, options->bloom_bits, options->bloom_prime);
	*result = builder;
	return LSM_OK;
}

void
lsm_table_builder_free(LsmTableBuilder *builder)
{
	lsm_buf_free(&builder->out);
	lsm_buf_free(&builder->last_key);
	lsm_block_builder_free(&builder->data);
	lsm_block_builder_free(&builder->index);
	lsm_filter_builder_free(&builder->filter);
	free(builder);
}

uint64_t
lsm_table_builder_size(const LsmTableBuilder *builder)
{
	return builder->offset + (lsm_block_builder_empty(&builder->data) ? 0 : lsm_block_builder_size(&builder->data));
}

const LsmTableProps *
lsm_table_builder_props(const LsmTableBuilder *builder)
{
	return &builder->props;
}

static LsmStatus
write_out(LsmTableBuilder *builder, LsmError *err)
{
	LsmStatus status = LSM_OK;

	if (builder->out.len > 0)
		status = lsm_file_append(builder->file, builder->out.data, builder->out.len, &builder->failed);
	if (status != LSM_OK)
	{
		builder->failed.status = status;
		if (err != NULL)
			*err = builder->failed;
	}
	builder->out.len = 0;
	return status;
}

/* Adds a block to the file, with its type and checksum. */
static LsmStatus
write_block(LsmTableBuilder *builder, LsmSlice raw, LsmCompression compression, LsmBlockHandle *handle, LsmError *err)
{
	LsmBuf *out = &builder->out;
	size_t start = out->len;
	char type = (char) compression;
	bool ok = true;

	if (raw.data == NULL)
		return no_memory(builder, err);
	if (raw.len > LSM_BLOCK_MAX)
		return fail(builder, LSM_INVALID, "a block of the table would be too large", err);
	if (!lsm_compress(compression, builder->options.zstd_level, raw, out))
	{
		type = LSM_COMPRESS_NONE;
		ok = lsm_buf_append(out, raw.data, raw.len);
	}
	handle->offset = builder->offset;
	handle->size = out->len - start;
	if (!ok || !lsm_buf_append(out, &type, 1) ||
		!lsm_buf_put_fixed32(out, lsm_crc32c_mask(lsm_crc32c(out->data + start, out->len - start))))
		return no_memory(builder, err);
	builder->offset += out->len - start;
	return out->len >= WRITE_SIZE ? write_out(builder, err) : LSM_OK;
}

static LsmStatus
close_data_block(LsmTableBuilder *builder, LsmError *err)
{
	LsmStatus status;

	if (lsm_block_builder_empty(&builder->data))
		return LSM_OK;
	status = write_block(builder, lsm_block_builder_finish(&builder->data), builder->options.compression,
						 &builder->pending_handle, err);
	if (status != LSM_OK)
		return status;
	lsm_block_builder_reset(&builder->data);
	builder->pending = true;
	if (builder->options.bloom_bits > 0 && !lsm_filter_builder_block(&builder->filter, builder->offset))
		return no_memory(builder, err);
	return LSM_OK;
}

/* Ends a shortened user key: before all its versions. */
static bool
append_first_trailer(LsmBuf *key)
{
	return lsm_buf_put_fixed64(key, lsm_pack_trailer(LSM_MAX_SEQUENCE, LSM_TYPE_FOR_SEEK));
}

/*
 * Makes last_key a short key that is >= last_key and < next: cut behind the
 * first byte that differs, if that byte can be raised by one and still be
 * below next's.  LevelDB's rule, to the letter.
 */
static bool
shorten_between(LsmBuf *last_key, LsmSlice next)
{
	LsmSlice last = lsm_ikey_user(lsm_buf_slice(last_key));
	LsmSlice limit = lsm_ikey_user(next);
	size_t common = last.len < limit.len ? last.len : limit.len;
	size_t at = 0;
	unsigned char byte;

	while (at < common && last.data[at] == limit.data[at])
		at++;
	if (at == common || at + 1 >= last.len)
		return true; /* one begins with the other, or nothing would be saved */
	byte = (unsigned char) last.data[at];
	if (byte == 0xff || byte + 1 >= (unsigned char) limit.data[at])
		return true;
	last_key->data[at] = (char) (byte + 1);
	last_key->len = at + 1;
	return append_first_trailer(last_key);
}

/* The same without a next key: cut behind the first byte that can be raised. */
static bool
shorten_last(LsmBuf *last_key)
{
	LsmSlice last = lsm_ikey_user(lsm_buf_slice(last_key));
	size_t at = 0;

	while (at < last.len && (unsigned char) last.data[at] == 0xff)
		at++;
	if (at + 1 >= last.len)
		return true;
	last_key->data[at] = (char) ((unsigned char) last.data[at] + 1);
	last_key->len = at + 1;
	return append_first_trailer(last_key);
}

/* The index entry for the block at pending_handle, under last_key. */
static LsmStatus
add_index_entry(LsmTableBuilder *builder, LsmError *err)
{
	char value[LSM_INDEX_MAX];
	size_t len;

	if (builder->options.stamped)
		len = lsm_index_encode(value, builder->pending_handle, builder->seqs);
	else
		len = lsm_handle_encode(value, builder->pending_handle);

	builder->pending = false;
	if (!lsm_block_builder_add(&builder->index, lsm_buf_slice(&builder->last_key), lsm_slice(value, len)))
		return no_memory(builder, err);
	return LSM_OK;
}

/* Adds an entry to the properties; false if its stamp cannot be. */
static bool
count_entry(LsmTableBuilder *builder, LsmSlice ikey, LsmSlice value)
{
	LsmTableProps *props = &builder->props;
	LsmStamp stamp;
	LsmSlice payload;

	if (lsm_ikey_type(ikey) == LSM_TYPE_DELETION)
		props->deletions++;
	else if (builder->options.stamped)
	{
		if (!lsm_stamp_decode(value, &stamp, &payload) || (stamp.flags & LSM_STAMP_SPILLED))
			return false;
		if (stamp.flags & LSM_STAMP_DELETE)
			props->deletions++;
		if ((stamp.flags & LSM_STAMP_XACT) && (props->min_xid == 0 || stamp.xid < props->min_xid))
			props->min_xid = stamp.xid;
	}
	props->entries++;
	props->raw_bytes += ikey.len + value.len;
	if (lsm_ikey_seq(ikey) > props->max_seq)
		props->max_seq = lsm_ikey_seq(ikey);
	if (props->entries == 1 || lsm_ikey_seq(ikey) < props->min_seq)
		props->min_seq = lsm_ikey_seq(ikey);
	return true;
}

static void
count_sequence(LsmTableBuilder *builder, uint64_t seq)
{
	if (lsm_block_builder_empty(&builder->data))
		builder->seqs = (LsmSeqs){seq, seq};
	if (seq < builder->seqs.min)
		builder->seqs.min = seq;
	if (seq > builder->seqs.max)
		builder->seqs.max = seq;
}

/* Would this entry make the open block too large? */
static bool
is_full_for(const LsmTableBuilder *builder, LsmSlice ikey, LsmSlice value)
{
	const LsmBlockBuilder *block = &builder->data;
	size_t block_size = builder->options.block_size;

	if (lsm_block_builder_empty(block))
		return false;
	/* To know exactly takes a comparison of keys, so only near the end. */
	if (lsm_block_builder_size(block) + ikey.len + value.len + LSM_BLOCK_ENTRY_OVERHEAD <= block_size)
		return false;
	return lsm_block_builder_size_with(block, ikey, value) > block_size;
}

LsmStatus
lsm_table_builder_add(LsmTableBuilder *builder, LsmSlice ikey, LsmSlice value, LsmError *err)
{
	const LsmTableOptions *options = &builder->options;
	LsmStatus status;

	if (builder->failed.status != LSM_OK)
	{
		if (err != NULL)
			*err = builder->failed;
		return builder->failed.status;
	}
	/* A table in the wrong order would lose keys without a word, so this is no mere assertion. */
	if (!lsm_ikey_ok(ikey) || (builder->props.entries > 0 && lsm_ikey_compare(lsm_buf_slice(&builder->last_key), ikey) >= 0))
		return fail(builder, LSM_INVALID, "keys are not added in order", err);
	if (value.len > LSM_ENTRY_MAX || ikey.len > LSM_ENTRY_MAX - value.len)
		return fail(builder, LSM_INVALID, "entry is larger than a table can hold", err);
	if (!count_entry(builder, ikey, value))
		return fail(builder, LSM_INVALID, "value has no valid stamp", err);

	if (options->stamped && is_full_for(builder, ikey, value))
	{
		status = close_data_block(builder, err);
		if (status != LSM_OK)
			return status;
	}
	if (builder->pending)
	{
		if (lsm_slice_compare(lsm_ikey_user(lsm_buf_slice(&builder->last_key)), lsm_ikey_user(ikey)) == 0)
			builder->seqs.min = 0;
		if (!shorten_between(&builder->last_key, ikey))
			return no_memory(builder, err);
		status = add_index_entry(builder, err);
		if (status != LSM_OK)
			return status;
	}
	count_sequence(builder, lsm_ikey_seq(ikey));
	if ((options->bloom_bits > 0 && !lsm_filter_builder_add(&builder->filter, lsm_ikey_user(ikey))) ||
		!lsm_buf_set(&builder->last_key, ikey.data, ikey.len) ||
		!lsm_block_builder_add(&builder->data, ikey, value))
		return no_memory(builder, err);
	if (!options->stamped && lsm_block_builder_size(&builder->data) >= options->block_size)
		return close_data_block(builder, err);
	return LSM_OK;
}

static bool
add_meta(LsmBlockBuilder *metaindex, const char *name, LsmBlockHandle handle)
{
	char encoded[LSM_HANDLE_MAX];

	return lsm_block_builder_add(metaindex, lsm_slice(name, strlen(name)),
								 lsm_slice(encoded, lsm_handle_encode(encoded, handle)));
}

/* Filter, properties and the metaindex block that names them. */
static LsmStatus
write_meta(LsmTableBuilder *builder, LsmBlockHandle *handle, LsmError *err)
{
	LsmBlockHandle filter = {0, 0};
	LsmBlockHandle props = {0, 0};
	char encoded[LSM_PROPS_MAX];
	LsmBlockBuilder metaindex;
	LsmStatus status = LSM_OK;

	if (builder->options.bloom_bits > 0)
		status = write_block(builder, lsm_filter_builder_finish(&builder->filter), LSM_COMPRESS_NONE, &filter, err);
	if (status == LSM_OK && builder->options.stamped)
		status = write_block(builder, lsm_slice(encoded, lsm_props_encode(encoded, &builder->props)),
							 LSM_COMPRESS_NONE, &props, err);
	if (status != LSM_OK)
		return status;

	lsm_block_builder_init(&metaindex, builder->options.restart_interval, 0);
	if ((builder->options.stamped && !add_meta(&metaindex, LSM_PROPS_NAME, props)) ||
		(builder->options.bloom_bits > 0 && !add_meta(&metaindex, LSM_FILTER_NAME, filter)))
		status = no_memory(builder, err);
	else
		status = write_block(builder, lsm_block_builder_finish(&metaindex), builder->options.compression, handle, err);
	lsm_block_builder_free(&metaindex);
	return status;
}

LsmStatus
lsm_table_builder_finish(LsmTableBuilder *builder, uint64_t *file_size, LsmError *err)
{
	LsmBlockHandle metaindex;
	LsmBlockHandle index;
	char footer[LSM_FOOTER_SIZE];
	LsmStatus status = builder->failed.status;

	if (status != LSM_OK)
	{
		if (err != NULL)
			*err = builder->failed;
		return status;
	}
	if ((status = close_data_block(builder, err)) != LSM_OK || (status = write_meta(builder, &metaindex, err)) != LSM_OK)
		return status;
	if (builder->pending)
	{
		if (!shorten_last(&builder->last_key))
			return no_memory(builder, err);
		if ((status = add_index_entry(builder, err)) != LSM_OK)
			return status;
	}
	status = write_block(builder, lsm_block_builder_finish(&builder->index), builder->options.compression, &index, err);
	if (status != LSM_OK)
		return status;
	lsm_footer_encode(footer, metaindex, index);
	if (!lsm_buf_append(&builder->out, footer, sizeof(footer)))
		return no_memory(builder, err);
	builder->offset += sizeof(footer);
	if ((status = write_out(builder, err)) != LSM_OK)
		return status;
	*file_size = builder->offset;
	return lsm_file_sync(builder->file, err);
}
