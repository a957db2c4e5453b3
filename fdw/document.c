/*
 * document.c - keys and values of documents (document.h has the grammar).
 *
 * Values come from files, so nothing is believed before it was checked: a body
 * whose jsonb header says more than there are bytes would make PostgreSQL's
 * jsonb code read behind it.  (The engine's checksums cover what the disk did;
 * the test here covers a file of another origin.)
 */
#include "postgres.h"

#include "fdw/document.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

void
document_key_init(DocumentKey *key, uint64 storage, const char *id, size_t len)
{
	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("document id must not be empty"),
				 errhint("A document id has 1 to %d bytes.", DOCSTORE_MAX_ID)));
	if (len > DOCSTORE_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("document id is too long"),
				 errdetail("The id that begins with \"%s\" has %zu bytes.",
						   pnstrdup(id, pg_mbcliplen(id, (int) len, 40)), len),
				 errhint("A document id has 1 to %d bytes.", DOCSTORE_MAX_ID)));

	docstore_key_prefix(key->data, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, storage);
	memcpy(key->data + DOCSTORE_KEY_PREFIX, id, len);
	key->len = (uint16) (DOCSTORE_KEY_PREFIX + len);
}

void
document_header_encode(char *dst, TimestampTz modified)
{
	uint64 bits = (uint64) modified;

	dst[0] = DOCUMENT_FORMAT;
	dst[1] = 0;
	for (int i = 0; i < 8; i++)
		dst[2 + i] = (char) (bits >> (8 * i));
}

void
document_refuse(LsmSlice value)
{
	if (document_known(value))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a stored document is not a jsonb value")));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a stored document has an unknown format"),
			 errdetail("It has %zu bytes and begins with format %d, flags %d; this version of docstore knows format %d without flags.",
					   value.len,
					   value.len > 0 ? (unsigned char) value.data[0] : -1,
					   value.len > 1 ? (unsigned char) value.data[1] : -1,
					   DOCUMENT_FORMAT)));
}

Jsonb *
document_buffer_set(DocumentBuffer *buffer, LsmSlice body)
{
	Size need = VARHDRSZ + body.len;

	if (need > buffer->size)
	{
		Size size = Max(need + need / 4, 1024);

		if (size > MaxAllocSize)
			size = need;
		if (buffer->jsonb != NULL)
			pfree(buffer->jsonb);
		buffer->jsonb = NULL;
		buffer->size = 0;
		buffer->jsonb = MemoryContextAlloc(buffer->context, size);
		buffer->size = size;
	}
	SET_VARSIZE(buffer->jsonb, need);
	memcpy(VARDATA(buffer->jsonb), body.data, body.len);
	return buffer->jsonb;
}
