/* no_memory.c - an allocator that fails at the k-th allocation, once, for a while, or from then on, for
 * every k of a small run: never a crash, never a leak, always an error that says so. For Lua it is the
 * host's; for the engine's own C this program is linked with --wrap, so that its malloc is the one
 * below. */
#include <limits.h>
#include <time.h>

#include "check.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);

static struct {
    long count;
    long fail_at; /* 0: never */
    long length;  /* how many fail */
} in_c;

static bool c_fails(void) {
    long n = ++in_c.count;
    return in_c.fail_at && n >= in_c.fail_at && n - in_c.fail_at < in_c.length;
}

void *__wrap_malloc(size_t size) {
    return c_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return c_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size) {
    return c_fails() ? NULL : __real_realloc(block, size);
}

char *__wrap_strdup(const char *text) {
    return c_fails() ? NULL : __real_strdup(text);
}

struct stingy {
    long count;   /* allocations so far */
    long fail_at; /* 0: never */
    long length;  /* how many fail */
    bool of_run;  /* counted, and failing, from harness_start on only */
    bool counts;
    size_t held;
};

static void *stingy_allocate(void *user, void *block, size_t old_size, size_t new_size) {
    struct stingy *stingy = user;
    if (!block) old_size = 0;
    if (!new_size) {
        free(block);
        stingy->held -= old_size;
        return NULL;
    }
    if (new_size > old_size && (stingy->counts || !stingy->of_run)) {
        stingy->count++;
        bool fails =
            stingy->count >= stingy->fail_at && stingy->count - stingy->fail_at < stingy->length;
        if (stingy->fail_at && fails) return NULL;
    }
    void *moved = __real_realloc(block, new_size);
    if (moved) stingy->held += new_size - old_size;
    return moved;
}

struct outcome {
    int made, loaded, started, done;
    bool told; /* every failure was told */
};

/* A small program of a host's, whatever fails. */
static struct outcome live(struct stingy *stingy) {
    struct outcome outcome = {.told = true};
    harness_error error = HARNESS_ERROR_INIT;
    harness_options options = HARNESS_OPTIONS_INIT;
    options.allocate = stingy_allocate;
    options.allocate_user = stingy;
    harness_engine *engine = harness_new(&options, &error);
    if (!engine) {
        outcome.told = error.status < 0 && error.message[0];
        return outcome;
    }
    outcome.made = 1;
    if (harness_load_buffer(engine, SCRIPT, strlen(SCRIPT), "case.lua", &error) == HARNESS_OK)
        outcome.loaded = 1;
    else outcome.told = error.status < 0 && error.message[0];
    struct seen seen = {0};
    harness_request request = HARNESS_REQUEST_INIT;
    request.session = "s";
    request.target = "guard";
    request.input_json = "\"x\"";
    request.on_event = seen_event;
    request.on_done = seen_done;
    request.user = &seen;
    stingy->counts = true;
    harness_run *run = outcome.loaded ? harness_start(engine, &request, &error) : NULL;
    if (run) {
        outcome.started = 1;
        int rc = 0;
        for (int i = 0; i < 3000 && !seen.done && rc >= 0; i++) rc = harness_wait(engine, 100);
        if (rc < 0) CHECK_INT(HARNESS_ENOMEM, rc);
        CHECK(seen.done == 1);
        outcome.done = seen.state == HARNESS_SUCCEEDED;
        if (!outcome.done)
            outcome.told =
                strstr(seen.last, "memory") != NULL || strstr(seen.last, "\"code\"") != NULL;
    } else if (outcome.loaded) {
        outcome.told = error.status < 0 && error.message[0];
    }
    CHECK_INT(0, harness_free(engine));
    CHECK(!run || seen.done == 1);
    return outcome;
}

static void fails_at_every_allocation(long length, const char *how, bool of_run) {
    struct stingy plain = {.of_run = of_run};
    struct outcome outcome = live(&plain);
    CHECK(outcome.done);
    CHECK_INT(0, plain.held);
    long total = plain.count;
    /* One of so many, from another one on each time. */
    long step = 1 + total / check_count(400, 4000);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long first = 1 + now.tv_nsec / 1000 % step;
    int counts[4] = {0};
    long tried = 0;
    for (long k = first; k <= total; k += step, tried++) {
        struct stingy stingy = {.fail_at = k, .length = length, .of_run = of_run};
        outcome = live(&stingy);
        if (stingy.held || !outcome.told) {
            printf("at allocation %ld: %zu bytes are left, told: %d\n", k, stingy.held,
                   outcome.told);
            check_failed(__FILE__, __LINE__, "a failed allocation was not survived");
        }
        counts[outcome.made + outcome.loaded + outcome.done]++;
    }
    printf(
        "%s: %ld of %ld allocations failed %s; %d not made, %d not loaded, %d not run, %d ran all the same\n",
        check_name, tried, total, how, counts[0], counts[1], counts[2], counts[3]);
}

static void fails_once(void) {
    fails_at_every_allocation(1, "once", false);
}

/* Lua collects garbage and asks again, which fails too. */
static void fails_twice(void) {
    fails_at_every_allocation(2, "twice", false);
}

static void fails_for_a_while(void) {
    fails_at_every_allocation(50, "for a while", false);
}

static void fails_for_good(void) {
    fails_at_every_allocation(LONG_MAX, "for good", false);
}

static void fails_twice_in_a_run(void) {
    fails_at_every_allocation(2, "twice", true);
}

static void fails_for_a_while_in_a_run(void) {
    fails_at_every_allocation(50, "for a while", true);
}

static void fails_in_c(void) {
    static const long LENGTHS[] = {1, 50, LONG_MAX};
    struct stingy plain = {0};
    in_c.count = 0;
    CHECK(live(&plain).done);
    long total = in_c.count;
    CHECK(total > 30);
    for (long k = 1; k <= total; k++)
        for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
            struct stingy stingy = {0};
            in_c.count = 0;
            in_c.length = LENGTHS[i];
            in_c.fail_at = k;
            struct outcome outcome = live(&stingy);
            in_c.fail_at = 0;
            if (stingy.held || !outcome.told) {
                printf("at allocation %ld, %zu: %zu bytes are left, told: %d\n", k, i, stingy.held,
                       outcome.told);
                check_failed(__FILE__, __LINE__, "a failed allocation was not survived");
            }
        }
}

/* Calls on a tree of files, of which one fails for lack of memory: then it has done nothing. */
static const char FILES_SCRIPT[] =
    "local harness = require 'harness'\n"
    "local session = harness.sandbox[KIND]():open {}\n"
    "local model = {}\n"
    "local function try(name, change, ...)\n"
    "  local ok, err = pcall(session[name], session, ...)\n"
    "  if ok then change() return err end\n"
    "  if not tostring(err):find 'not enough memory' then error(err, 0) end\n"
    "end\n"
    "local function write(path)\n"
    "  try('write', function() model[path] = path end, path, path)\n"
    "end\n"
    "for i = 1, 12 do write('/a/' .. i % 3 .. '/' .. i) end\n"
    "local snapshot = try('snapshot', function() end)\n"
    "local before = {}\n"
    "for path in pairs(model) do before[path] = path end\n"
    "write '/a/0/3'\n"
    "write '/b/c/d'\n"
    "try('mount', function() model['/s/x'], model['/s/y/z'] = '/s/x', '/s/y/z' end,\n"
    "  { x = '/s/x', ['y/z'] = '/s/y/z' }, '/s', { read_only = true })\n"
    "try('remove', function()\n"
    "  for path in pairs(model) do if path:find '^/a/1/' then model[path] = nil end end\n"
    "end, '/a/1', { recursive = true })\n"
    "try('list', function() end, '/', { recursive = true, glob = '*a*' })\n"
    "if snapshot and KIND == 'memory' then try('restore', function() model = before end, snapshot) end\n"
    "local function holds()\n"
    "  local count = 0\n"
    "  for _, entry in ipairs(session:list('/', { recursive = true })) do\n"
    "    if entry.kind == 'file' then\n"
    "      count = count + 1\n"
    "      assert(model[entry.path] == session:read(entry.path), entry.path)\n"
    "    end\n"
    "  end\n"
    "  for _ in pairs(model) do count = count - 1 end\n"
    "  assert(count == 0, 'a file is missing')\n"
    "end\n"
    "local ok, err = pcall(holds)\n"
    "if not ok and tostring(err):find 'not enough memory' then holds() end\n"
    "session:close()\n"
    "assert(ok or tostring(err):find 'not enough memory', err)\n"
    "return harness.define { models = { m = { model = 'm', provider = harness.providers.scripted {} } } }\n";

/* Runs it in an engine of its own while the k-th allocation fails. Whether it came to its end. */
static bool use_files(const char *kind, long k) {
    char script[4096];
    harness_error error = HARNESS_ERROR_INIT;
    harness_options options = HARNESS_OPTIONS_INIT;
    struct stingy stingy = {0}; /* Lua has all that it wants */
    options.allocate = stingy_allocate;
    options.allocate_user = &stingy;
    snprintf(script, sizeof script, "local KIND = '%s' %s", kind, FILES_SCRIPT);
    harness_engine *engine = harness_new(&options, &error);
    CHECK(engine);
    in_c.count = 0;
    in_c.length = 1;
    in_c.fail_at = k;
    int rc = harness_load_buffer(engine, script, strlen(script), "files.lua", &error);
    in_c.fail_at = 0;
    if (rc != HARNESS_OK && !strstr(error.message, "memory")) {
        printf("at allocation %ld of %s: %s\n", k, kind, error.message);
        check_failed(__FILE__, __LINE__, "a failed allocation did something");
    }
    CHECK_INT(0, harness_free(engine));
    return rc == HARNESS_OK;
}

static void fails_in_files(void) {
    static const char *const KINDS[] = {"memory", "directory"};
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        CHECK(use_files(KINDS[i], 0));
        long total = in_c.count, survived = 0, step = 1 + total / check_count(100, 1000);
        for (long k = 1; k <= total; k += step) survived += use_files(KINDS[i], k);
        printf("%s: %ld allocations, of every %ld one failed; %ld came to the end\n", KINDS[i],
               total, step, survived);
    }
}

static const struct check_case CASES[] = {
    {"an allocation that fails once", fails_once},
    {"allocations that fail twice", fails_twice},
    {"allocations that fail for a while", fails_for_a_while},
    {"allocations that fail from then on", fails_for_good},
    {"allocations of a run that fail twice", fails_twice_in_a_run},
    {"allocations of a run that fail for a while", fails_for_a_while_in_a_run},
    {"allocations of the engine's own", fails_in_c},
    {"allocations of trees of files", fails_in_files},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return check_main(argc, argv, CASES);
}
