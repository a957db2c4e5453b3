/*
 * keys.c - internal keys, stamps, file names (formats: keys.h; LevelDB's db/dbformat.h, db/filename.h).
 */
#include "engine/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/coding.h"

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
	const uint8_t known = LSM_STAMP_XACT | LSM_STAMP_DELETE | LSM_STAMP_LOCK | LSM_STAMP_SPILLED;
	size_t len = 1;

	if (value.len < 1 || ((uint8_t) value.data[0] & ~known) != 0)
		return false;
	stamp->flags = (uint8_t) value.data[0];
	stamp->xid = 0;
	stamp->cid = 0;
	if (stamp->flags & LSM_STAMP_XACT)
	{
		if (value.len < LSM_STAMP_MAX_SIZE)
			return false;
		stamp->xid = lsm_get_fixed64(value.data + 1);
		stamp->cid = lsm_get_fixed32(value.data + 9);
		len = LSM_STAMP_MAX_SIZE;
	}
	*payload = lsm_slice(value.data + len, value.len - len);
	return true;
}

bool
lsm_ikey_append(LsmBuf *buf, LsmSlice user_key, uint64_t seq, LsmType type)
{
	if (!lsm_buf_reserve(buf, user_key.len + LSM_TRAILER_SIZE))
		return false;
	lsm_buf_append(buf, user_key.data, user_key.len);
	return lsm_buf_put_fixed64(buf, lsm_pack_trailer(seq, type));
}

uint64_t
lsm_ikey_trailer(LsmSlice ikey)
{
	return lsm_get_fixed64(ikey.data + ikey.len - LSM_TRAILER_SIZE);
}

int
lsm_ikey_compare(LsmSlice a, LsmSlice b)
{
	size_t alen = a.len - LSM_TRAILER_SIZE;
	size_t blen = b.len - LSM_TRAILER_SIZE;
	int c = memcmp(a.data, b.data, alen < blen ? alen : blen);
	uint64_t atrailer, btrailer;

	if (c != 0)
		return c;
	if (alen != blen)
		return alen < blen ? -1 : 1;
	/* The newer version comes first. */
	atrailer = lsm_get_fixed64(a.data + alen);
	btrailer = lsm_get_fixed64(b.data + blen);
	return (atrailer < btrailer) - (atrailer > btrailer);
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
			snprintf(name, size, "LOG");
			break;
		case LSM_FILE_SPILL:
			snprintf(name, size, "%06" PRIu64 ".spill", number);
			break;
	}
}

/* Digits at *p; false if there are none or they overflow. */
static bool
parse_number(const char **p, uint64_t *number)
{
	const char *start = *p;
	uint64_t n = 0;

	while (**p >= '0' && **p <= '9')
	{
		uint64_t digit = (uint64_t) (**p - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
		(*p)++;
	}
	*number = n;
	return *p > start;
}

bool
lsm_parse_file_name(const char *name, LsmFileKind *kind, uint64_t *number)
{
	static const struct
	{
		const char *suffix;
		LsmFileKind kind;
	} suffixes[] = {
		{".log", LSM_FILE_LOG},
		{".ldb", LSM_FILE_TABLE},
		{".sst", LSM_FILE_TABLE},
		{".dbtmp", LSM_FILE_TEMP},
		{".spill", LSM_FILE_SPILL},
	};
	const char *p = name;

	*number = 0;
	if (strcmp(name, "CURRENT") == 0)
		*kind = LSM_FILE_CURRENT;
	else if (strcmp(name, "LOCK") == 0)
		*kind = LSM_FILE_LOCK;
	else if (strcmp(name, "LOG") == 0 || strcmp(name, "LOG.old") == 0)
		*kind = LSM_FILE_INFO;
	else if (strncmp(name, "MANIFEST-", 9) == 0)
	{
		p += 9;
		if (!parse_number(&p, number) || *p != '\0')
			return false;
		*kind = LSM_FILE_MANIFEST;
	}
	else
	{
		if (!parse_number(&p, number))
			return false;
		for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
			if (strcmp(p, suffixes[i].suffix) == 0)
			{
				*kind = suffixes[i].kind;
				return true;
			}
		return false;
	}
	return true;
}
