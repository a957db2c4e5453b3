/*
 * keys.h - internal keys, version stamps, file names.
 *
 * Internal key (LevelDB's): user key, then fixed64 little-endian of
 * (sequence << 8 | type).  Order: user key bytewise ascending, then sequence
 * descending, so that a key's newest version comes first.
 *
 * Stamp: a store that PostgreSQL writes ("stamped") puts in front of every
 * value what LevelDB has no place for:
 *
 *     flags   1 byte   LSM_STAMP_...
 *     xid     fixed64  only if LSM_STAMP_XACT: the writer's 64-bit (sub)transaction id
 *     cid     fixed32  only if LSM_STAMP_XACT: the writer's command id
 *     (payload)
 *
 * All versions of a stamped store have LevelDB's type "value", deletions too
 * (LSM_STAMP_DELETE), until every snapshot sees them and compaction drops them.
 * A version without LSM_STAMP_XACT is frozen: committed and seen by everybody.
 */
#ifndef LSM_KEYS_H
#define LSM_KEYS_H

#include <string.h>

#include "engine/coding.h"

typedef enum LsmType
{
	LSM_TYPE_DELETION = 0,
	LSM_TYPE_VALUE = 1
} LsmType;

#define LSM_TYPE_FOR_SEEK LSM_TYPE_VALUE /* sorts first among one sequence's types */
#define LSM_MAX_SEQUENCE ((UINT64_C(1) << 56) - 1)
#define LSM_TRAILER_SIZE 8

/* From the lowest to the highest of some sequences. */
typedef struct LsmSeqs
{
	uint64_t min;
	uint64_t max;
} LsmSeqs;
#define LSM_ALL_SEQS ((LsmSeqs){0, UINT64_MAX})

static inline bool
lsm_seqs_meet(LsmSeqs a, LsmSeqs b)
{
	return a.min <= b.max && b.min <= a.max;
}

/* Stamp flags. */
#define LSM_STAMP_XACT 0x01    /* xid and cid follow */
#define LSM_STAMP_DELETE 0x02  /* the key is deleted as of this version; no payload */
#define LSM_STAMP_LOCK 0x04    /* a row lock, not a version: readers skip it, writers wait for its xid */
#define LSM_STAMP_SPILLED 0x08 /* payload is fixed64 number of a spill file, fixed64 length of its value; never in a table */
#define LSM_STAMP_MAX_SIZE 13

typedef struct LsmStamp
{
	uint8_t flags;
	uint64_t xid; /* 0 when frozen */
	uint32_t cid;
} LsmStamp;

/* Writes a stamp (at most LSM_STAMP_MAX_SIZE bytes), returns its length. */
extern size_t lsm_stamp_encode(char *dst, const LsmStamp *stamp);
/* Splits a stamped value into stamp and payload; false if it is too short or has unknown flags. */
extern bool lsm_stamp_decode(LsmSlice value, LsmStamp *stamp, LsmSlice *payload);

/* Appends user_key + trailer to buf; false when out of memory. */
extern bool lsm_ikey_append(LsmBuf *buf, LsmSlice user_key, uint64_t seq, LsmType type);
/* Order of internal keys. */
extern int lsm_ikey_compare(LsmSlice a, LsmSlice b);

static inline uint64_t
lsm_pack_trailer(uint64_t seq, LsmType type)
{
	return (seq << 8) | (uint64_t) type;
}

/* ikey must have at least LSM_TRAILER_SIZE bytes; check lsm_ikey_ok on foreign data first. */
extern uint64_t lsm_ikey_trailer(LsmSlice ikey);

static inline bool
lsm_ikey_ok(LsmSlice ikey)
{
	return ikey.len >= LSM_TRAILER_SIZE && (unsigned char) ikey.data[ikey.len - 8] <= LSM_TYPE_VALUE;
}

static inline LsmSlice
lsm_ikey_user(LsmSlice ikey)
{
	LsmSlice s = {ikey.data, ikey.len - LSM_TRAILER_SIZE};
	return s;
}

/* A hash of a user key, for what lies in memory only: the files have LevelDB's (bloom.h). */
static inline uint64_t
lsm_key_hash(LsmSlice key)
{
	const uint64_t m = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t h = key.len * m;
	uint64_t rest = 0;
	size_t i = 0;

	for (; i + 8 <= key.len; i += 8)
	{
		h = (h ^ lsm_get_fixed64(key.data + i)) * m;
		h ^= h >> 32;
	}
	/* what is left of a word; of a long key with some of the word before, which does no harm */
	if (i < key.len && key.len >= 8)
		rest = lsm_get_fixed64(key.data + key.len - 8);
	else
		for (; i < key.len; i++)
			rest = rest << 8 | (unsigned char) key.data[i];
	h = (h ^ rest) * m;
	h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 32;
}

/* Neighbours differ at the end, mostly. */
static inline bool
lsm_same_key(LsmSlice a, LsmSlice b)
{
	return a.len == b.len && (a.len == 0 || (a.data[a.len - 1] == b.data[a.len - 1] && memcmp(a.data, b.data, a.len) == 0));
}

/* Is a user key behind the end of a range?  Asked for every entry; ends of whole collections are two words that overlap. */
static inline bool
lsm_behind(LsmSlice user, LsmSlice upper)
{
	uint64_t a;
	uint64_t b;

	if (upper.len < 8 || upper.len > 16 || user.len < upper.len)
		return upper.len > 0 && lsm_slice_compare(user, upper) >= 0;
	a = lsm_get_big_endian64(user.data);
	b = lsm_get_big_endian64(upper.data);
	if (a == b)
	{
		a = lsm_get_big_endian64(user.data + upper.len - 8);
		b = lsm_get_big_endian64(upper.data + upper.len - 8);
	}
	return a >= b;
}

static inline uint64_t
lsm_ikey_seq(LsmSlice ikey)
{
	return lsm_ikey_trailer(ikey) >> 8;
}

static inline LsmType
lsm_ikey_type(LsmSlice ikey)
{
	return (LsmType) (lsm_ikey_trailer(ikey) & 0xff);
}

/* File names, LevelDB's. */
typedef enum LsmFileKind
{
	LSM_FILE_LOG,      /* 000003.log */
	LSM_FILE_LOCK,     /* LOCK */
	LSM_FILE_TABLE,    /* 000005.ldb (also reads .sst) */
	LSM_FILE_MANIFEST, /* MANIFEST-000002 */
	LSM_FILE_CURRENT,  /* CURRENT */
	LSM_FILE_TEMP,     /* 000007.dbtmp */
	LSM_FILE_INFO,     /* LOG, LOG.old */
	LSM_FILE_SPILL     /* 000008.spill: values too large for a memtable; ours, LevelDB ignores it */
} LsmFileKind;

/* name must hold 64 bytes. */
extern void lsm_file_name(char *name, LsmFileKind kind, uint64_t number);
/* false for names that are none of ours. */
extern bool lsm_parse_file_name(const char *name, LsmFileKind *kind, uint64_t *number);

#endif
