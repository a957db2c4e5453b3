/*
 * format.c - see format.h.
 */
#include "engine/format.h"

#include <string.h>

#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/table_builder.h" /* lsm_decompress */

#define MAGIC UINT64_C(0xdb4775248b80fb57)
#define MAGIC_SIZE 8
#define PROPS_VERSION 2
#define PROPS_WITHOUT_MIN_SEQ 1

size_t
lsm_handle_encode(char *dst, LsmBlockHandle handle)
{
	char *p = lsm_put_varint64(dst, handle.offset);

	return (size_t) (lsm_put_varint64(p, handle.size) - dst);
}

const char *
lsm_handle_decode(const char *p, const char *end, LsmBlockHandle *handle)
{
	p = lsm_get_varint64(p, end, &handle->offset);
	return p != NULL ? lsm_get_varint64(p, end, &handle->size) : NULL;
}

size_t
lsm_index_encode(char *dst, LsmBlockHandle handle, LsmSeqs seqs)
{
	char *p = lsm_put_varint64(dst + lsm_handle_encode(dst, handle), seqs.max);

	return (size_t) (lsm_put_varint64(p, seqs.min) - dst);
}

LsmSeqs
lsm_index_seqs(LsmSlice value)
{
	const char *end = value.data + value.len;
	LsmBlockHandle handle;
	LsmSeqs seqs;
	const char *p = lsm_handle_decode(value.data, end, &handle);

	if (p == NULL || p == end || (p = lsm_get_varint64(p, end, &seqs.max)) == NULL ||
		lsm_get_varint64(p, end, &seqs.min) == NULL)
		return LSM_ALL_SEQS;
	return seqs;
}

void
lsm_footer_encode(char *dst, LsmBlockHandle metaindex, LsmBlockHandle index)
{
	size_t len;

	memset(dst, 0, LSM_FOOTER_SIZE);
	len = lsm_handle_encode(dst, metaindex);
	lsm_handle_encode(dst + len, index);
	lsm_put_fixed64(dst + LSM_FOOTER_SIZE - MAGIC_SIZE, MAGIC);
}

bool
lsm_footer_decode(const char *src, LsmBlockHandle *metaindex, LsmBlockHandle *index)
{
	const char *end = src + LSM_FOOTER_SIZE - MAGIC_SIZE;
	const char *p;

	if (lsm_get_fixed64(end) != MAGIC)
		return false;
	p = lsm_handle_decode(src, end, metaindex);
	return p != NULL && lsm_handle_decode(p, end, index) != NULL;
}

size_t
lsm_props_encode(char *dst, const LsmTableProps *props)
{
	char *p = dst;

	*p++ = PROPS_VERSION;
	p = lsm_put_varint64(p, props->entries);
	p = lsm_put_varint64(p, props->deletions);
	p = lsm_put_varint64(p, props->raw_bytes);
	p = lsm_put_varint64(p, props->min_xid);
	p = lsm_put_varint64(p, props->max_seq);
	p = lsm_put_varint64(p, props->min_seq);
	return (size_t) (p - dst);
}

bool
lsm_props_decode(LsmSlice src, LsmTableProps *props)
{
	uint64_t *fields[] = {&props->entries, &props->deletions, &props->raw_bytes, &props->min_xid, &props->max_seq,
						  &props->min_seq};
	size_t n = sizeof(fields) / sizeof(fields[0]);
	const char *p = src.data;
	const char *end = src.data + src.len;

	memset(props, 0, sizeof(*props));
	if (src.len < 1 || (*p != PROPS_VERSION && *p != PROPS_WITHOUT_MIN_SEQ))
		return false;
	if (*p++ == PROPS_WITHOUT_MIN_SEQ)
		n--;
	for (size_t i = 0; i < n; i++)
	{
		p = lsm_get_varint64(p, end, fields[i]);
		if (p == NULL)
			return false;
	}
	props->known = p == end;
	return props->known;
}

LsmStatus
lsm_block_check(const char *name, LsmBlockHandle handle, const char *stored, LsmBuf *plain, LsmSlice *contents,
				LsmError *err)
{
	size_t len = (size_t) handle.size;
	unsigned char type = (unsigned char) stored[len];
	LsmError why;
	LsmStatus status;

	if (lsm_crc32c_mask(lsm_crc32c(stored, len + 1)) != lsm_get_fixed32(stored + len + 1))
		return lsm_fail(err, LSM_CORRUPT, 0, name, handle.offset, "block checksum does not match");
	if (type == LSM_COMPRESS_NONE)
	{
		*contents = lsm_slice(stored, len);
		return LSM_OK;
	}
	plain->len = 0;
	status = lsm_decompress((LsmCompression) type, lsm_slice(stored, len), plain, &why);
	if (status != LSM_OK)
		return lsm_fail(err, status, 0, name, handle.offset, "%s", why.text);
	*contents = lsm_buf_slice(plain);
	return LSM_OK;
}

LsmStatus
lsm_block_read(LsmFile *file, uint64_t end, LsmBlockHandle handle, LsmBuf *stored, LsmBuf *plain, LsmSlice *contents,
			   LsmError *err)
{
	size_t len;
	size_t got;
	LsmStatus status;

	if (!lsm_handle_fits(handle, end))
		return lsm_fail(err, LSM_CORRUPT, 0, file->name, handle.offset, "block lies outside of the file");
	len = (size_t) handle.size + LSM_BLOCK_TRAILER;
	stored->len = 0;
	if (!lsm_buf_reserve(stored, len))
		return lsm_fail(err, LSM_NO_MEMORY, 0, file->name, handle.offset, "out of memory");
	status = lsm_file_read(file, handle.offset, stored->data, len, &got, err);
	if (status != LSM_OK)
		return status;
	if (got < len)
		return lsm_fail(err, LSM_CORRUPT, 0, file->name, handle.offset, "file ends within a block");
	stored->len = len;
	return lsm_block_check(file->name, handle, stored->data, plain, contents, err);
}
