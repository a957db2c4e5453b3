/*
 * main.c - docstore-tool: looks at, checks and repairs the files of a store that nobody has open.
 *
 *     docstore-tool stats  [--json] DIR
 *     docstore-tool verify [--json] DIR
 *     docstore-tool dump   [--json] FILE ...
 *     docstore-tool repair [--json] [--position X/Y] DIR
 *
 * DIR is docstore/ in a data directory, or the directory of a standalone store or of LevelDB.
 * Damage goes to standard error.  Exit status: 0, 1 if there was damage, 2 if the command could not be carried out.
 */
#include <ctype.h>
#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/log_tail.h"
#include "engine/manifest.h"
#include "engine/repair.h"
#include "tool/tool.h"

static const char usage[] =
	"docstore-tool looks at, checks and repairs the files of a docstore whose server is stopped.\n"
	"\n"
	"  docstore-tool stats  [--json] DIR                    levels, sequence, journal position\n"
	"  docstore-tool verify [--json] DIR                    reads every file, reports damage\n"
	"  docstore-tool dump   [--json] FILE ...               contents of tables, logs, manifests\n"
	"  docstore-tool repair [--json] [--position X/Y] DIR   makes a manifest from the files that are there\n"
	"\n"
	"DIR is the directory docstore in the data directory, or that of a LevelDB database.\n"
	"--json: a JSON object a line.  Exit status: 0, 1 if there was damage, 2 for other trouble.\n";

void
die(const char *format, ...)
{
	va_list args;

	fputs("docstore-tool: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_TROUBLE);
}

void
must(LsmStatus status, const LsmError *err)
{
	if (status == LSM_OK)
		return;
	if (err->os_errno != 0)
		die("%s: %s: %s", err->file, err->text, strerror(err->os_errno));
	die("%s%s%s", err->file, err->file[0] != '\0' ? ": " : "", err->text);
}

void
report_damage(void *arg, const LsmError *what)
{
	Tool *tool = arg;

	tool->damages++;
	fprintf(stderr, "damage: file \"%s\" offset %llu: %s\n", what->file, (unsigned long long) what->offset, what->text);
}

/* ---- output ---- */

json_t *
text_of(LsmSlice bytes, size_t limit)
{
	size_t n = limit > 0 && bytes.len > limit ? limit : bytes.len;
	char *text = malloc(n * 4 + 40);
	size_t len = 0;
	json_t *string;

	if (text == NULL)
		die("out of memory");
	for (size_t i = 0; i < n; i++)
	{
		unsigned char c = (unsigned char) bytes.data[i];

		if (c >= ' ' && c < 127 && c != '\\')
			text[len++] = (char) c;
		else
			len += (size_t) sprintf(text + len, "\\x%02x", c);
	}
	if (n < bytes.len)
		len += (size_t) sprintf(text + len, "... %zu more", bytes.len - n);
	string = json_stringn(text, len);
	free(text);
	if (string == NULL)
		die("out of memory");
	return string;
}

void
print_object(const Tool *tool, json_t *object)
{
	const char *name;
	json_t *value;
	bool first = true;

	if (tool->json)
	{
		if (json_dumpf(object, stdout, JSON_COMPACT) != 0)
			die("could not write to standard output");
	}
	else
	{
		json_object_foreach(object, name, value)
		{
			printf("%s%s=", first ? "" : " ", name);
			if (json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
				die("could not write to standard output");
			first = false;
		}
	}
	if (putchar('\n') == EOF)
		die("could not write to standard output");
	json_decref(object);
}

static void
print_counts(const Tool *tool, const char *const *names, const uint64_t *values, int n)
{
	json_t *object = json_object();

	for (int i = 0; i < n; i++)
	{
		if (object == NULL || json_object_set_new(object, names[i], json_integer((json_int_t) values[i])) != 0)
			die("out of memory");
	}
	print_object(tool, object);
}

/* ---- the directory ---- */

/* Refuses while the server of this data directory runs. */
static void
check_stopped(const char *dir)
{
	char path[4096];
	char line[64] = "";
	FILE *file;
	long pid;

	snprintf(path, sizeof(path), "%s/../postmaster.pid", dir);
	file = fopen(path, "r");
	if (file == NULL)
	{
		if (errno == ENOENT)
			return;
		die("could not open \"%s\": %s", path, strerror(errno));
	}
	if (fgets(line, sizeof(line), file) == NULL)
		line[0] = '\0';
	fclose(file);
	pid = strtol(line, NULL, 10);
	if (pid > 0 && (kill((pid_t) pid, 0) == 0 || errno == EPERM))
		die("a server with process id %ld uses this data directory; stop it first", pid);
}

static void
open_dir(Tool *tool, const char *dir)
{
	char path[4096];
	struct stat st;
	LsmError err;

	if (stat(dir, &st) != 0)
		die("could not open directory \"%s\": %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		die("\"%s\" is not a directory", dir);
	/* or what is written here would not be the server's */
	if (st.st_uid != geteuid())
		die("directory \"%s\" belongs to another user; run this as that user", dir);
	check_stopped(dir);
	snprintf(path, sizeof(path), "%s/../PG_VERSION", dir);
	tool->stamped = access(path, F_OK) == 0;
	must(lsm_env_posix_open(dir, &tool->env, &err), &err);
}

/* ---- commands ---- */

static void
read_manifest(Tool *tool, LsmFollow *follow)
{
	uint64_t current;
	LsmError err;

	lsm_follow_init(follow, tool->env);
	if (lsm_current_read(tool->env, &current, &err) == LSM_NOT_FOUND)
		die("there is no CURRENT file: this is no store, or it needs repair");
	must(lsm_current_read(tool->env, &current, &err), &err);
	must(lsm_follow_recover(follow, current, &err), &err);
}

static void
stats(Tool *tool)
{
	static const char *const level_names[] = {"level", "files", "bytes"};
	static const char *const names[] = {"manifest", "last_sequence", "next_file", "journal_position"};
	LsmFollow follow;

	read_manifest(tool, &follow);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &follow.files->levels[level];

		print_counts(tool, level_names, (uint64_t[]){(uint64_t) level, (uint64_t) l->n, l->bytes}, 3);
	}
	print_counts(tool, names,
				 (uint64_t[]){follow.number, follow.state.last_seq, follow.state.next_file, follow.state.log_number}, 4);
	lsm_follow_free(&follow);
}

#define MAX_LOGS 1000 /* a store has two or three */

typedef struct LogList
{
	uint64_t from;
	char names[MAX_LOGS][64];
	int n;
} LogList;

static void
note_log(void *arg, const char *name)
{
	LogList *list = arg;
	LsmFileKind kind;
	uint64_t number;

	if (!lsm_parse_file_name(name, &kind, &number) || kind != LSM_FILE_LOG || number < list->from)
		return;
	if (list->n == MAX_LOGS)
		die("more than %d logs", MAX_LOGS);
	snprintf(list->names[list->n++], 64, "%s", name);
}

/* Records of all logs that are still needed; a torn tail is no damage, as for a start. */
static uint64_t
verify_logs(Tool *tool, uint64_t from)
{
	static LogList list;
	uint64_t records = 0;
	LsmError err;

	list.from = from;
	list.n = 0;
	must(tool->env->ops->list(tool->env, note_log, &list, &err), &err);
	for (int i = 0; i < list.n; i++)
	{
		LsmLogWalk walk;
		LsmSlice record;
		LsmStatus status;

		must(lsm_log_walk_open(&walk, tool->env, list.names[i], &err), &err);
		while ((status = lsm_log_walk_next(&walk, &record, &err)) == LSM_OK)
			records++;
		if (status == LSM_CORRUPT)
			report_damage(tool, &err);
		else if (status != LSM_NOT_FOUND)
			must(status, &err);
		lsm_log_walk_close(&walk);
	}
	return records;
}

static void
verify(Tool *tool)
{
	static const char *const names[] = {"files", "entries", "log_records", "damages"};
	uint64_t nfiles = 0;
	uint64_t nentries = 0;
	uint64_t records;
	LsmFollow follow;
	LsmError err;

	read_manifest(tool, &follow);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &follow.files->levels[level];

		for (int i = 0; i < l->n; i++)
		{
			uint64_t n;

			must(lsm_table_verify_file(tool->env, l->files[i]->number, l->files[i]->size, report_damage, tool, &n, &err),
				 &err);
			nfiles++;
			nentries += n;
		}
	}
	records = tool->stamped ? 0 : verify_logs(tool, follow.state.log_number);
	print_counts(tool, names, (uint64_t[]){nfiles, nentries, records, tool->damages}, 4);
	lsm_follow_free(&follow);
}

static void
repair(Tool *tool, uint64_t position)
{
	static const char *const names[] = {"tables", "damaged_tables", "lost_tables", "entries", "logs", "damaged_logs", "rewritten", "journal_position"};
	LsmRepairResult r;
	LsmOptions options;
	LsmStatus status;
	LsmError err;

	if (tool->stamped)
		lsm_options_init(&options);
	else
		lsm_options_init_leveldb(&options);
	options.block_cache_size = 0;
	status = lsm_repair(tool->env, &options, tool->stamped, position, report_damage, tool, NULL, &r, &err);
	if (status == LSM_NOT_FOUND && tool->stamped)
		die("%s\nGive it with --position: the restart_lsn of the replication slot \"docstore\" is one that is early enough.", err.text);
	must(status, &err);
	print_counts(tool, names,
				 (uint64_t[]){r.tables, r.damaged_tables, r.lost_tables, r.entries, r.logs, r.damaged_logs, r.rewritten, r.position}, 8);
}

static uint64_t
parse_position(const char *text)
{
	unsigned int high;
	unsigned int low;
	char end;

	if (sscanf(text, "%X/%X%c", &high, &low, &end) != 2)
		die("\"%s\" is not a position like 0/16B3748", text);
	return (uint64_t) high << 32 | low;
}

int
main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "--help";
	const char *paths[argc];
	uint64_t position = 0;
	Tool tool = {0};
	int npaths = 0;

	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
	{
		fputs(usage, argc > 1 ? stdout : stderr);
		return argc > 1 ? 0 : EXIT_TROUBLE;
	}
	for (int i = 2; i < argc; i++)
	{
		if (strcmp(argv[i], "--json") == 0)
			tool.json = true;
		else if (strcmp(argv[i], "--position") == 0 && i + 1 < argc)
			position = parse_position(argv[++i]);
		else if (argv[i][0] == '-')
			die("unknown option %s (docstore-tool --help)", argv[i]);
		else
			paths[npaths++] = argv[i];
	}
	if (strcmp(command, "dump") == 0 && npaths > 0)
	{
		for (int i = 0; i < npaths; i++)
		{
			char *dir_copy = strdup(paths[i]);
			char *name_copy = strdup(paths[i]);

			if (dir_copy == NULL || name_copy == NULL)
				die("out of memory");
			open_dir(&tool, dirname(dir_copy));
			dump_file(&tool, basename(name_copy));
			lsm_env_posix_close(tool.env);
			free(dir_copy);
			free(name_copy);
		}
		return tool.damages > 0 ? EXIT_DAMAGE : 0;
	}
	if (npaths != 1 || (position != 0 && strcmp(command, "repair") != 0))
		die("see docstore-tool --help");
	if (strcmp(command, "stats") != 0 && strcmp(command, "verify") != 0 && strcmp(command, "repair") != 0)
		die("unknown command %s (docstore-tool --help)", command);
	open_dir(&tool, paths[0]);
	if (strcmp(command, "stats") == 0)
		stats(&tool);
	else if (strcmp(command, "verify") == 0)
		verify(&tool);
	else
		repair(&tool, position);
	lsm_env_posix_close(tool.env);
	return tool.damages > 0 ? EXIT_DAMAGE : 0;
}
