/*
 * log_tail.c - telling a torn tail from damage.
 *
 * A log is written front to back and synced now and then.  A crash may take any
 * part of what was not synced: the file is shorter, or pages that did not reach
 * the disk read as zeros, perhaps with later pages intact behind them.  Such a
 * log ends where the first bad record begins, and nothing that was acknowledged
 * as synced is lost.  Rot hits anything: then bytes differ, but they are
 * there, and records behind the bad one can still be read.  So, at the first
 * place that is not a good record:
 *
 *   - a 512-byte sector reads as zeros from its start (or the bad record's) to its
 *     end: it was never written.  The log ends here.
 *   - no zeros, and a good fragment (checksum and all) begins further back:
 *     damage.  Going on would lose acknowledged writes without a word.
 *   - no zeros and nothing good behind: the last record, torn or rotten; nobody
 *     can tell.  The log ends here, as it does for LevelDB.
 */
#include "engine/log_tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/crc32c.h"

#define SECTOR 512

static void
note_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	LsmLogWalk *walk = arg;

	(void) bytes;
	if (walk->damaged)
		return;
	walk->damaged = true;
	walk->damage_at = offset;
	snprintf(walk->why, sizeof(walk->why), "%s", why);
}

LsmStatus
lsm_log_walk_open(LsmLogWalk *walk, LsmEnv *env, const char *name, LsmError *err)
{
	LsmStatus status;

	memset(walk, 0, sizeof(*walk));
	status = lsm_file_open(env, name, LSM_OPEN_READ, &walk->file, err);
	if (status != LSM_OK)
		return status;
	status = lsm_log_reader_new(walk->file, 0, note_damage, walk, &walk->reader, err);
	if (status != LSM_OK)
	{
		lsm_file_close(walk->file);
		walk->file = NULL;
	}
	return status;
}

void
lsm_log_walk_close(LsmLogWalk *walk)
{
	if (walk->reader != NULL)
		lsm_log_reader_free(walk->reader);
	if (walk->file != NULL)
		lsm_file_close(walk->file);
	walk->reader = NULL;
	walk->file = NULL;
}

LsmStatus
lsm_log_written_end(LsmFile *file, uint64_t from, uint64_t *end, LsmError *err)
{
	char *buf = malloc(LSM_LOG_BLOCK_SIZE);
	LsmStatus status;
	size_t len;

	if (buf == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, file->name, from, "out of memory");
	*end = from;
	do
	{
		status = lsm_file_read(file, from, buf, LSM_LOG_BLOCK_SIZE, &len, err);
		for (size_t i = len; status == LSM_OK && i > 0; i--)
		{
			if (buf[i - 1] != 0)
			{
				*end = from + i;
				break;
			}
		}
		from += len;
	} while (status == LSM_OK && len > 0);
	free(buf);
	return status;
}

/* Bytes of data behind the header at p, as it claims. */
static size_t
fragment_data(const char *p)
{
	return (size_t) (unsigned char) p[4] | (size_t) (unsigned char) p[5] << 8;
}

/* Is there a good fragment at p?  Zeros are none: their type is 0. */
static bool
good_fragment(const char *p, size_t left)
{
	uint32_t crc;
	size_t len;
	int type;

	if (left < LSM_LOG_HEADER_SIZE)
		return false;
	len = fragment_data(p);
	type = (unsigned char) p[6];
	if (type < 1 || type > 4 || len > left - LSM_LOG_HEADER_SIZE)
		return false;
	crc = lsm_crc32c_unmask(lsm_get_fixed32(p));
	return crc == lsm_crc32c(p + 6, 1 + len);
}

/*
 * Does a sector that holds a part of the fragment at `from` read as zeros up to
 * its end, from its start or from where the fragment starts?  (Of buf, which starts
 * at offset `start` of the file and has len bytes.)  A sector is written as a
 * whole: if it was lost, what was to follow the fragment in it was, too.
 */
static bool
has_hole(const char *buf, size_t from, size_t len, uint64_t start)
{
	size_t end = len;
	bool zeros = true;

	if (len - from >= LSM_LOG_HEADER_SIZE && from + LSM_LOG_HEADER_SIZE + fragment_data(buf + from) < len)
		end = from + LSM_LOG_HEADER_SIZE + fragment_data(buf + from);
	for (size_t i = from; i < len; i++)
	{
		zeros = zeros && buf[i] == 0;
		if ((start + i + 1) % SECTOR == 0 || i + 1 == len)
		{
			if (zeros)
				return true;
			if (i + 1 >= end)
				break;
			zeros = true;
		}
	}
	return false;
}

/* Length of the good fragment at p with its header, or 0. */
static size_t
fragment_length(const char *p, size_t left)
{
	if (!good_fragment(p, left))
		return 0;
	return LSM_LOG_HEADER_SIZE + fragment_data(p);
}

/*
 * Decides about the stretch behind walk->good_end: *torn tells if a crash
 * explains it.  A record that was lost in its middle begins with good fragments;
 * they are stepped over first.
 */
static LsmStatus
judge(LsmLogWalk *walk, bool *torn, LsmError *err)
{
	uint64_t start = walk->good_end / LSM_LOG_BLOCK_SIZE * LSM_LOG_BLOCK_SIZE;
	size_t from = (size_t) (walk->good_end - start);
	char *block = malloc(LSM_LOG_BLOCK_SIZE);
	LsmStatus status;
	bool stepping = true;
	uint64_t written_end;

	if (block == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, walk->file->name, walk->good_end, "out of memory");
	*torn = true;
	status = lsm_log_written_end(walk->file, walk->good_end, &written_end, err);
	if (status != LSM_OK)
	{
		free(block);
		return status;
	}
	for (;; start += LSM_LOG_BLOCK_SIZE, from = 0)
	{
		bool bad_starts_here = false;
		size_t written;
		size_t len;

		status = lsm_file_read(walk->file, start, block, LSM_LOG_BLOCK_SIZE, &len, err);
		if (status != LSM_OK || len <= from)
			break;
		if (stepping)
		{
			size_t step;

			while (from < len && (step = fragment_length(block + from, len - from)) > 0)
				from += step;
			if (LSM_LOG_BLOCK_SIZE - from < LSM_LOG_HEADER_SIZE)
				continue; /* only padding is left */
			if (from == len)
				break;
			stepping = false;
			bad_starts_here = true;
			/* A length that rotted may reach into the zeros of a preallocated file: those are no hole. */
			written = written_end < start + len ? (size_t) (written_end - start) : len;
			if (written <= from || has_hole(block, from, written, start))
				break;
		}
		/*
		 * Where the damage starts, lengths cannot be trusted: try every byte.
		 * Later blocks begin with a fragment.
		 */
		for (size_t i = bad_starts_here ? from + 1 : 0; i < (bad_starts_here ? len : 1); i++)
		{
			if (good_fragment(block + i, len - i))
			{
				*torn = false;
				break;
			}
		}
		if (!*torn || len < LSM_LOG_BLOCK_SIZE)
			break;
	}
	free(block);
	return status;
}

LsmStatus
lsm_log_walk_next(LsmLogWalk *walk, LsmSlice *record, LsmError *err)
{
	LsmStatus status;
	bool torn = false;

	if (walk->damaged)
		return LSM_NOT_FOUND;
	status = lsm_log_read(walk->reader, record, err);
	if (status != LSM_OK && status != LSM_NOT_FOUND)
		return status;
	if (status == LSM_OK && !walk->damaged)
	{
		uint64_t offset = lsm_log_record_offset(walk->reader);
		uint64_t left = LSM_LOG_BLOCK_SIZE - walk->good_end % LSM_LOG_BLOCK_SIZE;

		/* Only a block's padding may lie between two records. */
		if (offset == walk->good_end ||
			(left < LSM_LOG_HEADER_SIZE && offset == walk->good_end + left))
		{
			walk->good_end = lsm_log_end_offset(walk->reader);
			return LSM_OK;
		}
		note_damage(walk, walk->good_end, offset - walk->good_end, "a gap between records");
	}
	if (!walk->damaged)
		return LSM_NOT_FOUND;
	status = judge(walk, &torn, err);
	if (status != LSM_OK)
		return status;
	if (!torn)
		return lsm_fail(err, LSM_CORRUPT, 0, walk->file->name, walk->damage_at, "%s", walk->why);
	return LSM_NOT_FOUND;
}
