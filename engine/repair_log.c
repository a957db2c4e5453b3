/*
 * repair_log.c - see repair_log.h.
 *
 * The old one is copied first, then the new one is written under a temporary name and renamed: under the log's name
 * there is always the one or the other, so that repair may be run again after a crash.
 */
#include "engine/repair_log.h"

#include <stdio.h>

#include "engine/batch.h"
#include "engine/log.h"
#include "engine/log_tail.h"

typedef struct LogRepair
{
	LsmEnv *env;
	char name[64];
	LsmDamage damage;
	void *arg;
	bool found;
} LogRepair;

static void
log_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	LogRepair *r = arg;
	LsmError what;

	(void) bytes;
	(void) lsm_fail(&what, LSM_CORRUPT, 0, r->name, offset, "%s", why);
	r->found = true;
	r->damage(r->arg, &what);
}

static void
say_nothing(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	(void) arg;
	(void) offset;
	(void) bytes;
	(void) why;
}

/* Is it a batch, all of it?  *seq is that of its last record. */
static bool
sound_batch(LsmSlice record, uint64_t *seq)
{
	LsmBatchReader reader;
	LsmError ignored;
	LsmStatus status;

	if (!lsm_batch_reader_init(&reader, record))
		return false;
	while ((status = lsm_batch_next(&reader, &ignored)) == LSM_OK)
		*seq = reader.seq;
	return status == LSM_NOT_FOUND;
}

/* Reads every record; with a writer, copies the sound ones. */
static LsmStatus
read_log(LogRepair *r, LsmFile *file, LsmLogWriter *writer, uint64_t *last_seq, LsmError *err)
{
	LsmLogReader *reader;
	LsmSlice record;
	LsmStatus status = lsm_log_reader_new(file, 0, writer == NULL ? log_damage : say_nothing, r, &reader, err);

	if (status != LSM_OK)
		return status;
	while ((status = lsm_log_read(reader, &record, err)) == LSM_OK)
	{
		uint64_t seq = 0;

		if (!sound_batch(record, &seq))
		{
			if (writer == NULL)
				log_damage(r, lsm_log_record_offset(reader), record.len, "record is no write batch");
			continue;
		}
		if (seq > *last_seq)
			*last_seq = seq;
		if (writer != NULL && (status = lsm_log_append(writer, record, err)) != LSM_OK)
			break;
	}
	if (status == LSM_NOT_FOUND)
	{
		uint64_t end = lsm_log_end_offset(reader);
		uint64_t written_end;

		status = lsm_log_written_end(file, end, &written_end, err);
		if (status == LSM_OK && writer == NULL && !r->found && written_end != end)
			log_damage(r, end, written_end - end, "log does not end with a whole record");
	}
	lsm_log_reader_free(reader);
	return status;
}

/* The damaged log for whoever wants to look, under another name. */
static LsmStatus
copy_log(LogRepair *r, LsmFile *old, LsmError *err)
{
	char chunk[32768];
	char aside[80];
	uint64_t offset = 0;
	LsmFile *file;
	size_t n = 1;
	LsmStatus status;

	snprintf(aside, sizeof(aside), "%s.bad", r->name);
	status = lsm_file_open(r->env, aside, LSM_OPEN_CREATE, &file, err);
	if (status != LSM_OK)
		return status;
	while (status == LSM_OK && n > 0)
	{
		status = lsm_file_read(old, offset, chunk, sizeof(chunk), &n, err);
		if (status == LSM_OK && n > 0)
			status = lsm_file_append(file, chunk, n, err);
		offset += n;
	}
	if (status == LSM_OK)
		status = lsm_file_sync(file, err);
	lsm_file_close(file);
	return status;
}

static LsmStatus
write_anew(LogRepair *r, LsmFile *old, uint64_t number, uint64_t *last_seq, LsmError *err)
{
	LsmLogWriter *writer = NULL;
	LsmFile *file;
	char temp[64];
	LsmStatus status = copy_log(r, old, err);

	if (status != LSM_OK)
		return status;
	lsm_file_name(temp, LSM_FILE_TEMP, number);
	status = lsm_file_open(r->env, temp, LSM_OPEN_CREATE, &file, err);
	if (status != LSM_OK)
		return status;
	status = lsm_log_writer_new(file, 0, &writer, err);
	if (status == LSM_OK)
		status = read_log(r, old, writer, last_seq, err);
	if (status == LSM_OK)
		status = lsm_log_sync(writer, err);
	if (writer != NULL)
		lsm_log_writer_free(writer);
	lsm_file_close(file);
	/* the copy's name and the new log's first */
	if (status == LSM_OK)
		status = r->env->ops->sync_dir(r->env, err);
	if (status == LSM_OK)
		status = r->env->ops->rename(r->env, temp, r->name, err);
	if (status == LSM_OK)
		status = r->env->ops->sync_dir(r->env, err);
	return status;
}

LsmStatus
lsm_repair_log(LsmEnv *env, uint64_t number, LsmDamage damage, void *arg, uint64_t *last_seq, LsmError *err)
{
	LogRepair r = {.env = env, .damage = damage, .arg = arg};
	LsmFile *file;
	LsmStatus status;

	lsm_file_name(r.name, LSM_FILE_LOG, number);
	status = lsm_file_open(env, r.name, LSM_OPEN_READ, &file, err);
	if (status != LSM_OK)
		return status;
	status = read_log(&r, file, NULL, last_seq, err);
	if (status == LSM_OK && r.found)
		status = write_anew(&r, file, number, last_seq, err);
	lsm_file_close(file);
	return status;
}
