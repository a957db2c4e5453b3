/*
 * test_jobs.c - several merges at the same time (job.h), each stopped in its middle and let go again.
 *
 * - Two merges of disjoint ranges run at once; what overlaps one that runs is refused, until that is over.
 * - Flushes go on meanwhile; a sweep leaves alone what a merge is writing.
 * - Who works on a range waits for the merges in it, flushes while it waits, keeps new ones away, and stops when told to;
 *   it never merges what they have merged meanwhile.  However much is written there, it comes to an end, and level 0 is merged.
 * - What a merge that could not be published leaves is removed.
 * - Who is killed in the middle of a merge or flush loses nothing; its next namesake sets free what it had claimed,
 *   and its half-written tables go.
 * - Many threads that merge, and write and compact ranges of their own, leave what they should.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/compact.h"
#include "engine/handle.h"
#include "engine/install.h"
#include "engine/room.h"
#include "engine/test/test.h"
#include "engine/work.h"

#define KEYS 600
#define VALUE 100
#define ROUNDS 20

static char dir[64];
static LsmEnv *env;
static LsmDb *db;
static LsmOptions options;

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

/* Puts all keys of a kind, with a value that tells the round. */
static void
put_all(LsmDb *handle, char kind, char round)
{
	LsmBatch batch = {0};
	char value[VALUE];
	LsmStatus status;
	LsmError err;

	memset(value, round, sizeof(value));
	for (int i = 0; i < KEYS; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "%c%05d", kind, i);
		if (!lsm_batch_put(&batch, text(key), lsm_slice(value, sizeof(value))))
			exit(1);
	}
	while ((status = lsm_write(handle, &batch, false, NULL, &err)) == LSM_BUSY)
		MUST(lsm_make_room(handle, batch.memtable_cost, &err), &err);
	MUST(status, &err);
	lsm_batch_free(&batch);
}

/* Two files of level 0 that overlap. */
static void
two_files(char kind, char round)
{
	LsmError err;

	for (int i = 0; i < 2; i++)
	{
		put_all(db, kind, (char) (round + i));
		MUST(lsm_flush(db, &err), &err);
	}
}

static bool
has_all(char kind, char round)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	LsmBuf got = {0};
	bool all = true;
	LsmError err;

	for (int i = 0; i < KEYS; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "%c%05d", kind, i);
		all &= lsm_get(db, &read, text(key), &got, NULL, &err) == LSM_OK && got.len == VALUE && got.data[0] == round;
	}
	lsm_buf_free(&got);
	return all;
}

static void
count_table(void *arg, const char *name)
{
	*(int *) arg += strstr(name, ".ldb") != NULL;
}

static int
tables_on_disk(void)
{
	int n = 0;
	LsmError err;

	MUST(env->ops->list(env, count_table, &n, &err), &err);
	return n;
}

static int
live_tables(void)
{
	int n = 0;
	LsmError err;

	MUST(lsm_enter(db, &err), &err);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		n += db->follow.files->levels[level].n;
	lsm_leave(db);
	return n;
}

static void
report_damage(void *arg, const LsmError *what)
{
	fprintf(stderr, "%s: %s\n", what->file, what->text);
	++*(int *) arg;
}

static bool
is_whole(void)
{
	int damages = 0;
	uint64_t files;
	uint64_t entries;
	LsmError err;

	MUST(lsm_verify(db, report_damage, NULL, &damages, &files, &entries, &err), &err);
	return damages == 0;
}

static bool
works(LsmDb *handle)
{
	LsmError err;
	bool did;

	MUST(lsm_work(handle, &did, &err), &err);
	return did;
}

static int
merges(void)
{
	LsmMerge found[LSM_MAX_MERGES];

	return lsm_merges(db, found);
}

static void
open_store(void)
{
	LsmError err;

	lsm_options_init(&options);
	options.memtable_size = 256 << 10;
	options.file_size = 16 << 10;
	options.level1_size = 64 << 20;
	options.block_cache_size = 1 << 20;
	options.level0_compact = 2;
	options.level0_slow = 1000; /* writers are not slowed */
	options.level0_stop = 2000;
	options.max_compactions = 4;
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	MUST(lsm_open(env, &options, &db, &err), &err);
}

static void
close_store(void)
{
	while (works(db))
		;
	CHECK(merges() == 0);
	CHECK(tables_on_disk() == live_tables());
	CHECK(is_whole());
	lsm_close(db);
	lsm_env_posix_close(env);
}

static void
remove_store(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		exit(1);
}

/* ---- somebody who stops in the middle ---- */

typedef struct Gate
{
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	LsmDb *db; /* whose */
	bool reached;
	bool open;
	bool stop; /* and then be told to stop */
	LsmStatus status;
} Gate;

/* should_stop: in a merge it waits at the gate. */
static bool
at_gate(void *arg)
{
	Gate *gate = arg;
	bool stop;

	pthread_mutex_lock(&gate->mutex);
	if (gate->db->job >= 0)
	{
		gate->reached = true;
		pthread_cond_broadcast(&gate->changed);
		while (!gate->open)
			pthread_cond_wait(&gate->changed, &gate->mutex);
	}
	stop = gate->stop;
	pthread_mutex_unlock(&gate->mutex);
	return stop;
}

static void
gate_init(Gate *gate)
{
	LsmError err;

	memset(gate, 0, sizeof(*gate));
	pthread_mutex_init(&gate->mutex, NULL);
	pthread_cond_init(&gate->changed, NULL);
	MUST(lsm_open_handle(db, &gate->db, &err), &err);
	gate->db->should_stop = at_gate;
	gate->db->stop_arg = gate;
}

static void
wait_reached(Gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	while (!gate->reached)
		pthread_cond_wait(&gate->changed, &gate->mutex);
	pthread_mutex_unlock(&gate->mutex);
}

static void
open_gate(Gate *gate, bool stop)
{
	pthread_mutex_lock(&gate->mutex);
	gate->open = true;
	gate->stop = stop;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

static void *
work_once(void *arg)
{
	Gate *gate = arg;
	LsmError err;
	bool did;

	gate->status = lsm_work(gate->db, &did, &err);
	return NULL;
}

static void *
compact_a(void *arg)
{
	Gate *gate = arg;
	LsmError err;

	gate->status = lsm_compact_range(gate->db, text("a"), text("b"), &err);
	return NULL;
}

static pthread_t
start(Gate *gate, void *(*what)(void *arg))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, what, gate) != 0)
		exit(1);
	return thread;
}

static void
finish(Gate *gate, pthread_t thread)
{
	pthread_join(thread, NULL);
	lsm_detach(gate->db);
	pthread_mutex_destroy(&gate->mutex);
	pthread_cond_destroy(&gate->changed);
}

static void
test_two_at_once(void)
{
	LsmMerge found[LSM_MAX_MERGES];
	pthread_t thread;
	int tables;
	Gate gate;

	open_store();
	two_files('a', '1');
	two_files('b', '1');
	gate_init(&gate);
	thread = start(&gate, work_once);
	wait_reached(&gate);
	CHECK(lsm_merges(db, found) == 1);
	CHECK(found[0].handle == gate.db->handle && found[0].level == 0 && found[0].output_level == 1 && found[0].files == 2);

	/* the other range is merged meanwhile, and then nothing is left that is free */
	CHECK(works(db));
	CHECK(merges() == 1 && atomic_load(&db->shared->compactions) == 1);
	CHECK(live_tables() > 2);
	CHECK(!works(db));
	CHECK(has_all('a', '2') && has_all('b', '2'));

	/* newer files of the first range are flushed, and have to wait */
	two_files('a', '3');
	CHECK(atomic_load(&db->shared->level0_files) == 4);
	CHECK(!works(db) && atomic_load(&db->shared->compactions) == 1);

	/* a sweep leaves alone what is being written; it comes later */
	tables = tables_on_disk();
	lsm_sweep_ask(db->shared);
	CHECK(!works(db));
	CHECK(tables_on_disk() == tables && atomic_load(&db->shared->sweep_below) != 0);

	open_gate(&gate, false);
	finish(&gate, thread);
	CHECK(gate.status == LSM_OK);
	CHECK(works(db) && atomic_load(&db->shared->level0_files) == 0);
	CHECK(has_all('a', '4') && has_all('b', '2'));
	close_store();
	remove_store();
}

/* max_compactions is obeyed. */
static void
test_limit(void)
{
	pthread_t thread;
	Gate gate;

	open_store();
	db->shared->options.max_compactions = 1;
	two_files('a', '1');
	two_files('b', '1');
	gate_init(&gate);
	thread = start(&gate, work_once);
	wait_reached(&gate);
	CHECK(!works(db) && atomic_load(&db->shared->compactions) == 0);
	/* told to stop it gives the job back */
	open_gate(&gate, true);
	finish(&gate, thread);
	CHECK(gate.status == LSM_INTERRUPTED && merges() == 0);
	CHECK(works(db) && works(db) && atomic_load(&db->shared->compactions) == 2);
	close_store();
	remove_store();
}

/* Who has the role has claimed keys up to this one. */
static void
wait_claimed(const char *last)
{
	struct timespec moment = {0, 1000000};
	bool claimed = false;

	while (!claimed)
	{
		const LsmJob *job = &db->shared->jobs[LSM_MAX_JOBS];

		nanosleep(&moment, NULL);
		lsm_lock(env, LSM_LOCK_STATE, LSM_SHARED);
		claimed = job->owner != 0 && lsm_slice_compare(lsm_slice(job->claim.last.bytes, job->claim.last.len), text(last)) == 0;
		lsm_unlock(env, LSM_LOCK_STATE);
	}
}

static void
test_range_waits(bool stop)
{
	pthread_t threads[2];
	Gate gate;
	Gate range;

	open_store();
	two_files('a', '1');
	gate_init(&gate);
	threads[0] = start(&gate, work_once);
	wait_reached(&gate);
	gate_init(&range);
	range.open = true;
	threads[1] = start(&range, compact_a);
	wait_claimed("b");

	/* who waits flushes for others, and keeps them away from its range, not from others */
	two_files('b', '1');
	CHECK(works(db) && has_all('b', '2'));
	two_files('a', '3');
	CHECK(!works(db) && atomic_load(&db->shared->level0_files) == 4);

	if (stop)
	{
		open_gate(&range, true);
		finish(&range, threads[1]);
		CHECK(range.status == LSM_INTERRUPTED);
		CHECK(atomic_load(&db->shared->worker) == 0 && db->shared->jobs[LSM_MAX_JOBS].owner == 0);
	}
	open_gate(&gate, false);
	finish(&gate, threads[0]);
	CHECK(gate.status == LSM_OK);
	if (!stop)
	{
		finish(&range, threads[1]);
		CHECK(range.status == LSM_OK);
		CHECK(atomic_load(&db->shared->level0_files) == 0);
	}
	CHECK(has_all('a', '4') && has_all('b', '2'));
	close_store();
	remove_store();
}

/* What lies over the range's end waits for a merge there; when that is over, it has taken away what was picked. */
static void
test_range_picks_anew(void)
{
	pthread_t threads[2];
	LsmError err;
	Gate gate;
	Gate range;

	open_store();
	two_files('b', '1');
	gate_init(&gate);
	threads[0] = start(&gate, work_once);
	wait_reached(&gate);
	put_all(db, 'a', '3');
	put_all(db, 'b', '3');
	MUST(lsm_flush(db, &err), &err);
	gate_init(&range);
	range.open = true;
	threads[1] = start(&range, compact_a);
	wait_claimed("b00599");
	open_gate(&gate, false);
	finish(&gate, threads[0]);
	finish(&range, threads[1]);
	CHECK(gate.status == LSM_OK && range.status == LSM_OK);
	CHECK(atomic_load(&db->shared->level0_files) == 0);
	CHECK(has_all('a', '3') && has_all('b', '3'));
	close_store();
	remove_store();
}

/* ---- a range that is written to all the time ---- */

typedef struct Load
{
	LsmDb *other; /* writes one more file of level 0 with each merge */
	uint64_t merges;
	int written;
	int most; /* files that were in level 0 once the first merge was over */
} Load;

/* should_stop */
static bool
write_meanwhile(void *arg)
{
	Load *load = arg;
	LsmError err;

	if (db->job < 0 || load->merges == atomic_load(&db->shared->compactions) || load->written == 60)
		return load->written == 60;
	if (load->merges != UINT64_MAX && atomic_load(&db->shared->level0_files) > load->most)
		load->most = atomic_load(&db->shared->level0_files);
	load->merges = atomic_load(&db->shared->compactions);
	put_all(load->other, (char) ('a' + load->written++ % 3), '9');
	MUST(lsm_rotate(load->other, LSM_ROTATE_NONEMPTY, &err), &err);
	return false;
}

/* It comes to its end all the same, and level 0 does not fill up until then. */
static void
test_range_written_to(void)
{
	Load load = {.merges = UINT64_MAX};
	LsmError err;

	open_store();
	db->shared->options.level1_size = 64 << 10;
	db->shared->options.level_factor = 4;
	db->shared->options.table.compression = db->shared->options.level0_compression = LSM_COMPRESS_NONE;
	for (char round = '1'; round < '4'; round++)
	{
		for (char kind = 'a'; kind < 'q'; kind++)
			put_all(db, kind, round);
		MUST(lsm_flush(db, &err), &err);
		while (round < '3' && works(db))
			;
	}
	MUST(lsm_open_handle(db, &load.other, &err), &err);
	db->should_stop = write_meanwhile;
	db->stop_arg = &load;
	MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
	db->should_stop = NULL;
	printf("%d files written meanwhile, at most %d in level 0\n", load.written, load.most);
	CHECK(load.written > 3 && load.written < 60);
	CHECK(load.most <= 2 * options.level0_compact);
	CHECK(has_all('a', '9') && has_all('b', '9') && has_all('c', '9'));
	lsm_detach(load.other);
	close_store();
	remove_store();
}

/* ---- somebody who cannot publish ---- */

static LsmStatus
refuse(LsmJournal *journal, LsmError *err)
{
	(void) journal;
	return lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "interrupted");
}

static void
test_not_installed(void)
{
	const LsmJournalOps *ops;
	LsmJournalOps refusing;
	LsmError err;
	bool did;

	open_store();
	two_files('a', '1');
	ops = db->journal->ops;
	refusing = *ops;
	refusing.before_install = refuse;
	db->journal->ops = &refusing;
	CHECK(lsm_work(db, &did, &err) == LSM_INTERRUPTED && merges() == 0);
	CHECK(tables_on_disk() > live_tables());
	db->journal->ops = ops;
	CHECK(works(db) && has_all('a', '2'));
	close_store();
	remove_store();
}

/* ---- somebody who dies ---- */

#define CHILD 40

static int to_parent[2];

/* In the middle of a merge, or of a flush, it says so, and never goes on. */
static bool
stand_still(void *arg)
{
	LsmDb *mine = arg;

	if (mine->job >= 0 || lsm_role_mine(mine))
	{
		if (write(to_parent[1], "!", 1) != 1)
			exit(1);
		for (;;)
			pause();
	}
	return false;
}

static void
kill_in_the_middle(void)
{
	LsmAttach attach = {.env = env, .shared = db->shared, .journal = db->journal, .handle = CHILD};
	LsmError err;
	pid_t pid;
	char c;

	if (pipe(to_parent) != 0)
		exit(1);
	pid = fork();
	if (pid < 0)
		exit(1);
	if (pid == 0)
	{
		LsmDb *mine;
		bool did;

		MUST(lsm_attach(&attach, &mine, &err), &err);
		mine->should_stop = stand_still;
		mine->stop_arg = mine;
		(void) lsm_work(mine, &did, &err);
		_exit(1);
	}
	/* or there would be no end to read if it failed */
	close(to_parent[1]);
	CHECK(read(to_parent[0], &c, 1) == 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(to_parent[0]);
}

/* Another process with its number. */
static void
come_back(void)
{
	LsmAttach attach = {.env = env, .shared = db->shared, .journal = db->journal, .handle = CHILD};
	LsmDb *mine;
	LsmError err;

	MUST(lsm_attach(&attach, &mine, &err), &err);
	lsm_detach(mine);
}

static void
test_killed_merge(void)
{
	LsmMerge found[LSM_MAX_MERGES];

	open_store();
	two_files('a', '1');
	kill_in_the_middle();
	CHECK(lsm_merges(db, found) == 1 && found[0].handle == CHILD);
	CHECK(tables_on_disk() > live_tables());
	/* its claim stays; what it does not meet goes on */
	CHECK(!works(db));
	two_files('b', '1');
	CHECK(works(db) && has_all('b', '2'));
	CHECK(!works(db));

	come_back();
	CHECK(merges() == 0);
	CHECK(works(db) && atomic_load(&db->shared->level0_files) == 0);
	CHECK(has_all('a', '2') && has_all('b', '2'));
	close_store();
	remove_store();
}

static void
test_killed_flush(void)
{
	LsmError err;

	open_store();
	put_all(db, 'a', '1');
	MUST(lsm_rotate(db, LSM_ROTATE_NONEMPTY, &err), &err);
	kill_in_the_middle();
	CHECK(atomic_load(&db->shared->worker) == CHILD + 1);
	/* merges go on without the role */
	CHECK(!works(db) && atomic_load(&db->shared->waiting) == 1);
	come_back();
	CHECK(atomic_load(&db->shared->worker) == 0);
	CHECK(works(db) && atomic_load(&db->shared->waiting) == 0);
	CHECK(has_all('a', '1'));
	close_store();
	remove_store();
}

/* ---- all at once ---- */

typedef struct Worker
{
	LsmDb *db;
	char kind;
	_Atomic bool *stop;
	_Atomic int *together;
} Worker;

static void *
work_on(void *arg)
{
	Worker *w = arg;
	LsmError err;

	while (!atomic_load(w->stop))
	{
		bool did;

		env->ops->wait_prepare(env, LSM_WAIT_WORK);
		MUST(lsm_work(w->db, &did, &err), &err);
		if (!did)
			env->ops->wait(env, LSM_WAIT_WORK, 5);
		env->ops->wait_end(env, LSM_WAIT_WORK);
	}
	return NULL;
}

/* should_stop: in a merge it looks for others that run, too. */
static bool
look_round(void *arg)
{
	Worker *w = arg;
	LsmMerge found[LSM_MAX_MERGES];

	if (w->db->job >= 0 && lsm_merges(w->db, found) > 1)
		atomic_fetch_add(w->together, 1);
	return false;
}

/* Writes its range again and again, and now and then compacts it, until there were merges at the same time. */
static void *
write_on(void *arg)
{
	Worker *w = arg;
	char upper[2] = {(char) (w->kind + 1), 0};
	char lower[2] = {w->kind, 0};
	LsmError err;

	for (int turn = 0; turn == 0 || (turn < 100 && atomic_load(w->together) == 0); turn++)
		for (int round = 0; round < ROUNDS; round++)
		{
			put_all(w->db, w->kind, (char) ('A' + round));
			if (round % 7 == 6)
				MUST(lsm_compact_range(w->db, text(lower), text(upper), &err), &err);
		}
	return NULL;
}

static void
test_threads(void)
{
	pthread_t threads[6];
	Worker workers[6];
	_Atomic bool stop = false;
	_Atomic int together = 0;
	LsmStats stats;
	LsmError err;

	open_store();
	db->shared->options.level1_size = 64 << 10;
	db->shared->options.level_factor = 4;
	for (int i = 0; i < 6; i++)
	{
		workers[i] = (Worker){NULL, (char) ('a' + i), &stop, &together};
		MUST(lsm_open_handle(db, &workers[i].db, &err), &err);
		workers[i].db->should_stop = look_round;
		workers[i].db->stop_arg = &workers[i];
		if (pthread_create(&threads[i], NULL, i < 3 ? write_on : work_on, &workers[i]) != 0)
			exit(1);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	for (int i = 3; i < 6; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 6; i++)
		lsm_detach(workers[i].db);
	for (int i = 0; i < 3; i++)
		CHECK(has_all((char) ('a' + i), 'A' + ROUNDS - 1));
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.last_error.status == LSM_OK);
	printf("several merges seen %d times\n", atomic_load(&together));
	CHECK(atomic_load(&together) > 0);
	close_store();
	remove_store();
}

int
main(void)
{
	snprintf(dir, sizeof(dir), "/tmp/lsm_test_jobs.%d", (int) getpid());
	test_two_at_once();
	test_limit();
	test_range_waits(false);
	test_range_waits(true);
	test_range_picks_anew();
	test_range_written_to();
	test_not_installed();
	test_killed_merge();
	test_killed_flush();
	test_threads();
	return test_done();
}
