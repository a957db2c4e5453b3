/*
 * document.h - what a document's key and value look like in the engine.
 *
 * Key: store.h's prefix (kind 'd', database, storage id), then the id's bytes.
 *
 * Value (all that follows the engine's version stamp):
 *
 *     format    1 byte    1
 *     flags     1 byte    0; room for attributes, owner and access lists
 *     modified  8 bytes   little-endian int64: microseconds since 2000-01-01 UTC (a TimestampTz)
 *     body      the rest  the bytes of PostgreSQL's binary jsonb without its varlena header
 *
 * A deletion has no value.  The etag is the version's sequence number and is
 * not stored here.
 */
#ifndef DOCSTORE_DOCUMENT_H
#define DOCSTORE_DOCUMENT_H

#include "postgres.h"

#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "engine/coding.h"
#include "store/store.h"

#define DOCUMENT_FORMAT 1
#define DOCUMENT_HEADER 10

/* A document's key, complete. */
typedef struct DocumentKey
{
	uint16 len;
	char data[DOCSTORE_KEY_PREFIX + DOCSTORE_MAX_ID];
} DocumentKey;

static inline LsmSlice
document_key_slice(const DocumentKey *key)
{
	return lsm_slice(key->data, key->len);
}

/* The id within a key. */
static inline LsmSlice
document_key_id(LsmSlice key)
{
	return lsm_slice(key.data + DOCSTORE_KEY_PREFIX, key.len - DOCSTORE_KEY_PREFIX);
}

/* Throws unless the id's length is 1 .. DOCSTORE_MAX_ID. */
extern void document_key_init(DocumentKey *key, uint64 storage, const char *id, size_t len);

/*
 * A number of 47 bits as a row's ctid, the only identity of a row that the
 * executor carries along by itself.  The target of an UPDATE or DELETE shows its
 * version there.
 */
#define DOCUMENT_TID_MASK ((UINT64_C(1) << 47) - 1)
static inline void
document_tid_set(ItemPointer tid, uint64 number)
{
	ItemPointerSet(tid, (BlockNumber) (number >> 15), (OffsetNumber) (number & 0x7fff) + 1);
}
static inline uint64
document_tid_get(ItemPointer tid)
{
	return (uint64) ItemPointerGetBlockNumberNoCheck(tid) << 15 | (ItemPointerGetOffsetNumberNoCheck(tid) - 1);
}

/* Writes DOCUMENT_HEADER bytes. */
extern void document_header_encode(char *dst, TimestampTz modified);

/* Is it of a format that this version knows? */
static inline bool
document_known(LsmSlice value)
{
	return value.len >= DOCUMENT_HEADER + sizeof(uint32) && value.data[0] == DOCUMENT_FORMAT && value.data[1] == 0;
}

/* Throws ERRCODE_DATA_CORRUPTED for what document_decode does not take. */
extern void document_refuse(LsmSlice value) pg_attribute_noreturn();

/* Splits a value; false if it is none.  body borrows from value, and may lie at any address. */
static inline bool
document_split(LsmSlice value, TimestampTz *modified, LsmSlice *body)
{
	uint64 members;
	uint32 header;

	if (!document_known(value))
		return false;
	*modified = (TimestampTz) lsm_get_fixed64(value.data + 2);
	*body = lsm_slice(value.data + DOCUMENT_HEADER, value.len - DOCUMENT_HEADER);
	/* The root is an object or an array whose entries must at least fit. */
	memcpy(&header, body->data, sizeof(header));
	members = header & JB_CMASK;
	return (header & (JB_FOBJECT | JB_FARRAY)) != 0 &&
		   ((header & JB_FOBJECT) ? 2 : 1) * members * sizeof(JEntry) + sizeof(header) <= body->len;
}

/* The same, but throws ERRCODE_DATA_CORRUPTED if it is none. */
static inline void
document_decode(LsmSlice value, TimestampTz *modified, LsmSlice *body)
{
	if (!document_split(value, modified, body))
		document_refuse(value);
}

/* The bytes of a jsonb that make a body; borrowed. */
static inline LsmSlice
document_body(const Jsonb *jsonb)
{
	return lsm_slice(VARDATA_ANY(jsonb), VARSIZE_ANY_EXHDR(jsonb));
}

/*
 * A document as a jsonb datum, in storage that is used again for the next one.
 * context must outlive it.
 */
typedef struct DocumentBuffer
{
	MemoryContext context;
	Jsonb *jsonb;
	Size size; /* allocated */
} DocumentBuffer;
extern Jsonb *document_buffer_set(DocumentBuffer *buffer, LsmSlice body);

#endif
