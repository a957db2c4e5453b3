/*
 * keys.c - internal keys, stamps and file names (grammars in keys.h).
 */
#include "engine/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/coding.h"

#define KNOWN_FLAGS (LSM_STAMP_XACT | LSM_STAMP_DELETE | LSM_STAMP_LOCK | LSM_STAMP_SPILLED)

static bool parse_number(const char **p, uint64_t *number);

size_t
lsm_stamp_encode(char *dst, const LsmStamp *stamp)
{
	dst[0] = (char) stamp->flags;
	if (!(stamp->flags & LSM_STAMP_XACT))
		return 1;
	lsm_put_fixed64(dst + 1, stamp->xid);
	lsm_put_fixed32(dst + 9, stamp->cid);
	return LSM_STAMP_MAX_SIZE;
}

bool
lsm_stamp_decode(LsmSlice value, LsmStamp *stamp, LsmSlice *payload)
{
	size_t size = 1;

	if (value.len < 1)
		return false;
	memset(stamp, 0, sizeof(*stamp));
	stamp->flags = (uint8_t) value.data[0];
	if (stamp->flags & ~KNOWN_FLAGS)
		return false;
	if (stamp->flags & LSM_STAMP_XACT)
	{
		size = LSM_STAMP_MAX_SIZE;
		if (value.len < size)
			return false;
		stamp->xid = lsm_get_fixed64(value.data + 1);
		stamp->cid = lsm_get_fixed32(value.data + 9);
	}
	*payload = lsm_slice(value.data + size, value.len - size);
	return true;
}

bool
lsm_ikey_append(LsmBuf *buf, LsmSlice user_key, uint64_t seq, LsmType type)
{
	if (!lsm_buf_reserve(buf, user_key.len + LSM_TRAILER_SIZE))
		return false;
	/* With the room set aside neither can fail. */
	return lsm_buf_append(buf, user_key.data, user_key.len) &&
		   lsm_buf_put_fixed64(buf, lsm_pack_trailer(seq, type));
}

int
lsm_ikey_compare(LsmSlice a, LsmSlice b)
{
	size_t a_len = a.len - LSM_TRAILER_SIZE;
	size_t b_len = b.len - LSM_TRAILER_SIZE;
	int order = memcmp(a.data, b.data, a_len < b_len ? a_len : b_len);
	uint64_t a_trailer;
	uint64_t b_trailer;

	if (order != 0)
		return order;
	if (a_len != b_len)
		return a_len < b_len ? -1 : 1;
	a_trailer = lsm_get_fixed64(a.data + a_len);
	b_trailer = lsm_get_fixed64(b.data + b_len);
	return (a_trailer < b_trailer) - (a_trailer > b_trailer);
}

uint64_t
lsm_ikey_trailer(LsmSlice ikey)
{
	return lsm_get_fixed64(ikey.data + ikey.len - LSM_TRAILER_SIZE);
}

void
lsm_file_name(char *name, LsmFileKind kind, uint64_t number)
{
	const size_t size = 64;

	switch (kind)
	{
		case LSM_FILE_LOG:
			snprintf(name, size, "%06" PRIu64 ".log", number);
			break;
		case LSM_FILE_LOCK:
			snprintf(name, size, "LOCK");
			break;
		case LSM_FILE_TABLE:
			snprintf(name, size, "%06" PRIu64 ".ldb", number);
			break;
		case LSM_FILE_MANIFEST:
			snprintf(name, size, "MANIFEST-%06" PRIu64, number);
			break;
		case LSM_FILE_CURRENT:
			snprintf(name, size, "CURRENT");
			break;
		case LSM_FILE_TEMP:
			snprintf(name, size, "%06" PRIu64 ".dbtmp", number);
			break;
		case LSM_FILE_INFO:
			snprintf(name, size, number == 0 ? "LOG" : "LOG.old");
			break;
		case LSM_FILE_SPILL:
			snprintf(name, size, "%06" PRIu64 ".spill", number);
			break;
	}
}

bool
lsm_parse_file_name(const char *name, LsmFileKind *kind, uint64_t *number)
{
	static const struct
	{
		const char *name;
		LsmFileKind kind;
		uint64_t number;
	} fixed[] = {
		{"LOCK", LSM_FILE_LOCK, 0},
		{"CURRENT", LSM_FILE_CURRENT, 0},
		{"LOG", LSM_FILE_INFO, 0},
		{"LOG.old", LSM_FILE_INFO, 1},
	};
	static const struct
	{
		const char *suffix;
		LsmFileKind kind;
	} numbered[] = {
		{".log", LSM_FILE_LOG},
		{".ldb", LSM_FILE_TABLE},
		{".sst", LSM_FILE_TABLE},
		{".dbtmp", LSM_FILE_TEMP},
		{".spill", LSM_FILE_SPILL},
	};
	static const char manifest[] = "MANIFEST-";
	const char *p = name;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
	{
		if (strcmp(name, fixed[i].name) == 0)
		{
			*kind = fixed[i].kind;
			*number = fixed[i].number;
			return true;
		}
	}
	if (strncmp(name, manifest, sizeof(manifest) - 1) == 0)
	{
		p += sizeof(manifest) - 1;
		*kind = LSM_FILE_MANIFEST;
		return parse_number(&p, number) && *p == '\0';
	}
	if (!parse_number(&p, number))
		return false;
	for (size_t i = 0; i < sizeof(numbered) / sizeof(numbered[0]); i++)
	{
		if (strcmp(p, numbered[i].suffix) == 0)
		{
			*kind = numbered[i].kind;
			return true;
		}
	}
	return false;
}

/* Decimal digits at *p, at least one; false also if the number needs more than 64 bits. */
static bool
parse_number(const char **p, uint64_t *number)
{
	const char *q = *p;
	uint64_t result = 0;

	for (; *q >= '0' && *q <= '9'; q++)
	{
		uint64_t digit = (uint64_t) (*q - '0');

		if (result > (UINT64_MAX - digit) / 10)
			return false;
		result = result * 10 + digit;
	}
	if (q == *p)
		return false;
	*p = q;
	*number = result;
	return true;
}
