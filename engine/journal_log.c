/*
 * journal_log.c - the standalone journal: LevelDB's log files, one per memtable.
 *
 * A position is a log file's number.  Each record is one batch (batch.h).
 *
 * What replay may rely on: a log is synced before the next one is begun, so of
 * all logs only the last that has records can have a torn tail.  (After a failed
 * append nothing is written to a new log until the old one is not needed any
 * more; see write_group.c.)
 */
#include "engine/journal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/keys.h"
#include "engine/log.h"
#include "engine/log_tail.h"

typedef struct LogJournal
{
	LsmJournal pub;
	LsmEnv *env;
	size_t step; /* a log grows by so much at a time; 0: as it is written */
	LsmFile *file;
	LsmLogWriter *log;
	bool poisoned; /* its tail is unknown */
} LogJournal;

static LsmStatus
log_append(LsmJournal *journal, LsmSlice batch, bool sync, LsmError *err)
{
	LogJournal *j = (LogJournal *) journal;
	LsmStatus status;

	if (j->log == NULL)
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "there is no log to write to");
	status = lsm_log_append(j->log, batch, err);
	if (status == LSM_OK && sync)
		status = lsm_log_sync(j->log, err);
	if (status != LSM_OK)
		j->poisoned = true;
	return status;
}

static void
close_log(LogJournal *j)
{
	if (j->log != NULL)
		lsm_log_writer_free(j->log);
	if (j->file != NULL)
		lsm_file_close(j->file);
	j->log = NULL;
	j->file = NULL;
}

static LsmStatus
log_rotate(LsmJournal *journal, uint64_t new_number, uint64_t *position, LsmError *err)
{
	LogJournal *j = (LogJournal *) journal;
	LsmLogWriter *log = NULL;
	LsmFile *file = NULL;
	char name[64];
	LsmStatus status;

	lsm_file_name(name, LSM_FILE_LOG, new_number);
	status = lsm_file_open(j->env, name, j->step > 0 ? LSM_OPEN_SHARED : LSM_OPEN_CREATE, &file, err);
	if (status != LSM_OK)
		return status;
	/*
	 * The old log first, or a later synced record could outlive an earlier one that was not.  The new one is there already,
	 * so that a journalling file system makes both durable in one go.
	 */
	if (j->log != NULL && !j->poisoned)
	{
		status = lsm_log_sync(j->log, err);
		j->poisoned = status != LSM_OK;
	}
	if (status == LSM_OK)
		status = lsm_log_writer_new(file, 0, &log, err);
	if (status == LSM_OK)
		status = j->env->ops->sync_dir(j->env, err);
	if (status != LSM_OK)
	{
		/* an empty log that nothing names does no harm; release removes it one day */
		if (log != NULL)
			lsm_log_writer_free(log);
		lsm_file_close(file);
		return status;
	}
	if (j->step > 0)
		lsm_log_allocate_ahead(log, j->step);
	close_log(j);
	j->file = file;
	j->log = log;
	j->poisoned = false;
	*position = new_number;
	return LSM_OK;
}

/* ---- the logs in the directory ---- */

typedef struct Numbers
{
	uint64_t from; /* only logs with numbers >= from and < to */
	uint64_t to;
	uint64_t *numbers;
	int n, cap;
	bool failed;
} Numbers;

static void
note_log(void *arg, const char *name)
{
	Numbers *list = arg;
	LsmFileKind kind;
	uint64_t number;

	if (list->failed || !lsm_parse_file_name(name, &kind, &number) || kind != LSM_FILE_LOG || number < list->from ||
		number >= list->to)
		return;
	if (list->n == list->cap)
	{
		int cap = list->cap > 0 ? list->cap * 2 : 16;
		uint64_t *numbers = realloc(list->numbers, (size_t) cap * sizeof(*numbers));

		if (numbers == NULL)
		{
			list->failed = true;
			return;
		}
		list->numbers = numbers;
		list->cap = cap;
	}
	list->numbers[list->n++] = number;
}

static int
ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a;
	uint64_t y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

static LsmStatus
list_logs(LogJournal *j, Numbers *list, LsmError *err)
{
	LsmStatus status = j->env->ops->list(j->env, note_log, list, err);

	if (status == LSM_OK && list->failed)
		status = lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
	if (status == LSM_OK && list->n > 0)
		qsort(list->numbers, (size_t) list->n, sizeof(*list->numbers), ascending);
	return status;
}

/* May run beside append and rotate: it touches nothing of theirs, and the log being written is never before position. */
static void
log_release(LsmJournal *journal, uint64_t position)
{
	LogJournal *j = (LogJournal *) journal;
	Numbers list = {.from = 0, .to = position};
	LsmError ignored; /* a log that stays is removed next time */

	if (list_logs(j, &list, &ignored) == LSM_OK)
	{
		for (int i = 0; i < list.n; i++)
		{
			char name[64];

			lsm_file_name(name, LSM_FILE_LOG, list.numbers[i]);
			(void) j->env->ops->remove(j->env, name, &ignored);
		}
	}
	free(list.numbers);
}

/*
 * Replays one log.  *torn: a previous log ended in a torn tail, so this one must
 * be empty; set if this one does.
 */
static LsmStatus
replay_log(LogJournal *j, uint64_t number, bool *torn, LsmReplay fn, void *arg, LsmError *err)
{
	LsmLogWalk walk;
	LsmSlice record;
	char name[64];
	LsmStatus status;

	lsm_file_name(name, LSM_FILE_LOG, number);
	status = lsm_log_walk_open(&walk, j->env, name, err);
	if (status != LSM_OK)
		return status;
	while ((status = lsm_log_walk_next(&walk, &record, err)) == LSM_OK)
	{
		if (*torn)
		{
			status = lsm_fail(err, LSM_CORRUPT, 0, name, 0, "the log before this one is damaged at its end");
			break;
		}
		status = fn(arg, record, err);
		if (status != LSM_OK)
			break;
	}
	if (status == LSM_NOT_FOUND)
	{
		*torn |= walk.damaged;
		status = LSM_OK;
	}
	lsm_log_walk_close(&walk);
	return status;
}

static LsmStatus
log_replay(LsmJournal *journal, uint64_t position, LsmReplay fn, void *arg, LsmError *err)
{
	LogJournal *j = (LogJournal *) journal;
	Numbers list = {.from = position, .to = UINT64_MAX};
	bool torn = false;
	LsmStatus status = list_logs(j, &list, err);

	if (status == LSM_OK && position != 0 && list.n > 0 && list.numbers[0] != position)
	{
		char name[64];

		lsm_file_name(name, LSM_FILE_LOG, position);
		status = lsm_fail(err, LSM_CORRUPT, 0, name, 0, "log is missing");
	}
	for (int i = 0; status == LSM_OK && i < list.n; i++)
		status = replay_log(j, list.numbers[i], &torn, fn, arg, err);
	free(list.numbers);
	return status;
}

static void
log_close(LsmJournal *journal)
{
	LogJournal *j = (LogJournal *) journal;

	close_log(j);
	free(j);
}

static const LsmJournalOps log_ops = {
	.append = log_append,
	.rotate = log_rotate,
	.release = log_release,
	.before_install = NULL, /* tables are synced; nothing in them leans on the log */
	.replay = log_replay,
	.close = log_close,
};

LsmJournal *
lsm_journal_log_new(LsmEnv *env, size_t step)
{
	LogJournal *j = calloc(1, sizeof(LogJournal));

	if (j == NULL)
		return NULL;
	j->pub.ops = &log_ops;
	j->pub.concurrent = false;
	j->env = env;
	j->step = step;
	return &j->pub;
}
