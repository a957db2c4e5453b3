# docstore: a document database inside PostgreSQL.
#
#   make && make install       builds against the pg_config in PATH (PG_CONFIG=... for another)
#   make installcheck          regression and isolation tests against a running server (TAP tests: bin/test)
#   make engine-test [T=log]   the engine's own tests under ASan and UBSan, no PostgreSQL needed
#   make engine-tsan           those that use threads under ThreadSanitizer
#   make engine-fuzz [F=table] [SECONDS=60]   its readers under libFuzzer (clang)
#   bin/test                   everything, with a private server

MODULE_big = docstore
EXTENSION = docstore
DATA = $(wildcard sql/docstore--*.sql)
ENGINE = $(filter-out engine/env_pg.c, $(wildcard engine/*.c))
OBJS = docstore.o engine/env_pg.o \
	$(patsubst %.c,%.o,$(filter-out engine/env_posix.c engine/env_sim.c engine/env_sim_disk.c engine/journal_log.c engine/standalone.c engine/write_group.c, $(ENGINE))) \
	$(patsubst %.c,%.o,$(wildcard store/*.c fdw/*.c view/*.c repl/*.c worker/*.c))

REGRESS = $(patsubst sql/%.sql,%,$(filter-out sql/docstore--%.sql,$(wildcard sql/*.sql)))
ISOLATION = $(patsubst specs/%.spec,%,$(wildcard specs/*.spec))

# NDEBUG: the engine's assert() would take a whole server down; its tests run with it.
PG_CPPFLAGS = -I$(CURDIR) -DNDEBUG
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
# Calls among our own files are bound when it is linked: quicker, and never to a function of the server's of the same name.
SHLIB_LINK = -lzstd -lsnappy -ljansson -Wl,-Bsymbolic-functions
EXTRA_CLEAN = build docstore-tool

PG_CONFIG ?= pg_config
override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs)

# The engine alone: no PostgreSQL involved, so these targets work without it.
ENGINE_CFLAGS = -std=gnu11 -Wall -Wextra -I. -g -pthread
ASAN = -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
ENGINE_LIBS = -lsnappy -lzstd -lpthread
TESTS = $(if $(T),$(T),$(patsubst engine/test/test_%.c,%,$(wildcard engine/test/test_*.c)))
FUZZERS = $(patsubst engine/fuzz/fuzz_%.c,%,$(wildcard engine/fuzz/fuzz_*.c))
TEST_PROGRAMS = $(TESTS:%=build/test/test_%) $(if $(T),,$(FUZZERS:%=build/test/fuzz_%))
ENGINE_HEADERS = $(wildcard engine/*.h engine/test/*.h engine/fuzz/*.h)
ASAN_OBJS = $(patsubst engine/%.c,build/asan/%.o,$(ENGINE))
REL_OBJS = $(patsubst engine/%.c,build/release/%.o,$(ENGINE))

ifneq ($(PGXS),)
include $(PGXS)
$(OBJS): $(wildcard *.h engine/*.h store/*.h fdw/*.h view/*.h repl/*.h worker/*.h)

all: docstore-tool
install: install-tool
uninstall: uninstall-tool
.PHONY: install-tool uninstall-tool
install-tool: docstore-tool
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) docstore-tool '$(DESTDIR)$(bindir)/docstore-tool'
uninstall-tool:
	rm -f '$(DESTDIR)$(bindir)/docstore-tool'
endif

build/asan/%.o: engine/%.c $(ENGINE_HEADERS)
	@mkdir -p build/asan
	$(CC) $(ENGINE_CFLAGS) $(ASAN) -c -o $@ $<

build/release/%.o: engine/%.c $(ENGINE_HEADERS)
	@mkdir -p build/release
	$(CC) $(ENGINE_CFLAGS) -O2 -DNDEBUG -c -o $@ $<

build/test/%: engine/test/%.c $(ASAN_OBJS) $(ENGINE_HEADERS)
	@mkdir -p build/test
	$(CC) $(ENGINE_CFLAGS) $(ASAN) -o $@ $< $(ASAN_OBJS) $(ENGINE_LIBS) $(if $(findstring leveldb,$<),-lleveldb)

# LevelDB's DumpFile is C++ only.
build/test/leveldb_dump.o: engine/test/leveldb_dump.cc
	@mkdir -p build/test
	$(CXX) -std=c++17 -Wall -Wextra -g $(ASAN) -c -o $@ $<

build/test/test_leveldb_dump: engine/test/test_leveldb_dump.c build/test/leveldb_dump.o $(ASAN_OBJS) $(ENGINE_HEADERS)
	$(CC) $(ENGINE_CFLAGS) $(ASAN) -o $@ $< build/test/leveldb_dump.o $(ASAN_OBJS) $(ENGINE_LIBS) -lleveldb -lstdc++

build/test/fuzz_%: engine/fuzz/fuzz_%.c engine/fuzz/driver.c $(ASAN_OBJS) $(ENGINE_HEADERS)
	@mkdir -p build/test
	$(CC) $(ENGINE_CFLAGS) $(ASAN) -o $@ $< engine/fuzz/driver.c $(ASAN_OBJS) $(ENGINE_LIBS)

build/tsan/%.o: engine/%.c $(ENGINE_HEADERS)
	@mkdir -p build/tsan
	$(CC) $(ENGINE_CFLAGS) -O1 -fsanitize=thread -c -o $@ $<

build/tsan/test_%: engine/test/test_%.c $(ENGINE:engine/%.c=build/tsan/%.o) $(ENGINE_HEADERS)
	$(CC) $(ENGINE_CFLAGS) -O1 -fsanitize=thread -o $@ $< $(ENGINE:engine/%.c=build/tsan/%.o) $(ENGINE_LIBS)

build/fuzz/%.o: engine/%.c $(ENGINE_HEADERS)
	@mkdir -p build/fuzz
	clang $(ENGINE_CFLAGS) $(ASAN) -fsanitize=fuzzer-no-link -c -o $@ $<

build/fuzz/fuzz_%: engine/fuzz/fuzz_%.c $(ENGINE:engine/%.c=build/fuzz/%.o) $(ENGINE_HEADERS)
	clang $(ENGINE_CFLAGS) $(ASAN) -fsanitize=fuzzer -o $@ $< $(ENGINE:engine/%.c=build/fuzz/%.o) $(ENGINE_LIBS)

build/liblsm.a: $(REL_OBJS)
	rm -f $@ && ar rcs $@ $(REL_OBJS)

# A program beside the library: looks at, checks and repairs the files of a stopped server.
docstore-tool: $(wildcard tool/*.c tool/*.h) build/liblsm.a $(ENGINE_HEADERS)
	$(CC) $(ENGINE_CFLAGS) -O2 -DNDEBUG -o $@ $(wildcard tool/*.c) build/liblsm.a $(ENGINE_LIBS) -ljansson

# bench/engine: RocksDB and LMDB take part where their headers are.
BENCH_ROCKSDB = $(wildcard /usr/include/rocksdb/c.h)
BENCH_LMDB = $(wildcard /usr/include/lmdb.h)
BENCH_SOURCES = $(filter-out $(if $(BENCH_ROCKSDB),,%/rocksdb.c) $(if $(BENCH_LMDB),,%/lmdb.c),$(wildcard bench/engine/*.c))
build/bench/engine: $(BENCH_SOURCES) bench/engine/store.h build/liblsm.a $(ENGINE_HEADERS)
	@mkdir -p build/bench
	$(CC) $(ENGINE_CFLAGS) -O2 $(if $(BENCH_ROCKSDB),-DHAVE_ROCKSDB) $(if $(BENCH_LMDB),-DHAVE_LMDB) -o $@ $(BENCH_SOURCES) \
		build/liblsm.a $(ENGINE_LIBS) -lleveldb $(if $(BENCH_ROCKSDB),-lrocksdb) $(if $(BENCH_LMDB),-llmdb)

.PHONY: engine-test engine-test-build engine-fuzz engine-fuzz-build engine-tsan engine-tsan-build print-engine-tests print-engine-tsan \
	print-fuzzers print-regress print-isolation
engine-test-build: $(TEST_PROGRAMS)

engine-test: engine-test-build
	@failed=0; for t in $(TEST_PROGRAMS); do echo "== $${t##*/}"; $$t || failed=1; done; exit $$failed

# Skiplist, block cache, and the whole with writers, readers and a worker.
TSAN_TESTS = memtable cache db jobs
TSAN_PROGRAMS = $(TSAN_TESTS:%=build/tsan/test_%)
engine-tsan-build: $(TSAN_PROGRAMS)
engine-tsan: engine-tsan-build
	@for t in $(TSAN_PROGRAMS); do $$t || exit 1; done

# What it finds goes to build/fuzz; new inputs are kept beside the corpus, not in it.
F = $(FUZZERS)
SECONDS = 60
engine-fuzz-build: $(F:%=build/fuzz/fuzz_%)
engine-fuzz: engine-fuzz-build
	@for f in $(F); do echo "== $$f"; mkdir -p build/fuzz/new-$$f; build/fuzz/fuzz_$$f -max_total_time=$(SECONDS) \
		-artifact_prefix=build/fuzz/ build/fuzz/new-$$f engine/fuzz/corpus/$$f || exit 1; done

# For bin/test.
print-engine-tests:
	@echo $(TEST_PROGRAMS)

print-engine-tsan:
	@echo $(TSAN_PROGRAMS)

print-fuzzers:
	@echo $(FUZZERS)

print-regress:
	@echo $(REGRESS)

print-isolation:
	@echo $(ISOLATION)
