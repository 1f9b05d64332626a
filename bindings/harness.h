/* harness.h - the harness-lua engine inside a C or C++ program.
 *
 *     harness_options options = HARNESS_OPTIONS_INIT;
 *     harness_error error = HARNESS_ERROR_INIT;
 *     harness_engine *engine = harness_new(&options, &error);
 *     harness_load_file(engine, "npc.lua", &error);          // a script that returns harness.define{...}
 *
 *     harness_request request = HARNESS_REQUEST_INIT;
 *     request.session = "npc-12";
 *     request.target = "guard";                              // an agent or a workflow
 *     request.input_json = "\"Who goes there?\"";
 *     request.on_event = on_event;
 *     request.on_done = on_done;
 *     request.user = npc;
 *     harness_run *run = harness_start(engine, &request, &error);
 *
 *     while (game_is_running) {
 *         harness_pump(engine, 500);                         // at most about 500 microseconds; never waits
 *         draw_frame();
 *     }
 *     harness_run_release(run);
 *     harness_free(engine);                                  // cancels, joins, frees everything
 *
 * Threads. An engine belongs to the thread that made it; calls with the engine or a run from another one
 * are refused with HARNESS_ETHREAD, but for harness_wakeup and harness_post. What takes a reply, a
 * transfer or a child (harness_reply_*, harness_http_*, harness_process_exited) is for that thread, too,
 * but cannot see which one it is on. Engines know nothing of each other: one in each of many threads is
 * fine.
 *
 * Callbacks. on_event, on_done and what is posted are called by harness_pump, harness_wait and
 * harness_free only (with a uv loop of the host's: by that loop), with no Lua on the stack, and may call
 * any function here but harness_pump, harness_wait and harness_free. Host functions, `log`, `module` and
 * the tables for HTTP and processes are called from inside Lua, by any call: they may call harness_post,
 * harness_wakeup and what answers them; all else gives HARNESS_EBUSY. What callbacks are given is valid
 * until they return.
 *
 * Errors. A function that can fail returns NULL or a negative HARNESS_E number, and fills in the
 * caller's harness_error where there is one (NULL is allowed). No function here exits, aborts, prints,
 * installs a signal handler, or reads the environment, unless the options say so; what a script does
 * itself (print, os.getenv) it does.
 *
 * Memory. Lua, handles and whatever the engine keeps for runs in Lua come from `allocate`. libuv, cJSON,
 * libcurl and the engine's own small C structures use malloc: those libraries have process-wide hooks
 * only. libcurl is initialised once in the process, at the first HTTP call of any engine.
 *
 * Structs begin with `size`, by which a later version of the library will know what a program was
 * compiled against: always start from the _INIT macro. One that is smaller than this version's is
 * refused; a harness_error that is, is left alone. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HARNESS_API __attribute__((visibility("default")))
#else
#define HARNESS_API
#endif

#define HARNESS_API_VERSION 1

typedef struct harness_engine harness_engine;
typedef struct harness_run harness_run;
typedef struct harness_reply harness_reply;

/* ---- errors -------------------------------------------------------------------------------- */

enum {
    HARNESS_OK = 0,
    HARNESS_EINVAL = -1, /* an argument is wrong; the error says which and what is allowed */
    HARNESS_ENOMEM =
        -2, /* no memory, or the limit is reached. Where that struck the engine's scheduler,
                             every call gives it from then on, and the engine can only be freed */
    HARNESS_ETHREAD = -3, /* called from a thread that is not the engine's */
    HARNESS_EBUSY = -4,   /* not possible here: inside a callback or a host function */
    HARNESS_ESCRIPT = -5, /* a script could not be loaded, or raised an error */
    HARNESS_ENOTFOUND = -6,
    HARNESS_ESYSTEM = -7 /* the operating system refused */
};

/* Filled in by the function that failed; strings are always terminated and cut where they are too long. */
typedef struct harness_error {
    size_t size;
    int status;         /* one of the numbers above */
    char code[64];      /* such as HARNESS_CONFIG_ERROR, the code that Lua sees */
    char message[1024]; /* one line for a person */
    char
        json[3008]; /* {"code","category","retriable","message","meta"}; "" where it does not fit */
} harness_error;
#define HARNESS_ERROR_INIT                                                                         \
    {                                                                                              \
        sizeof(harness_error), 0, {0}, {0}, {                                                      \
            0                                                                                      \
        }                                                                                          \
    }

/* ---- the engine ---------------------------------------------------------------------------- */

/* As realloc and free: new_size 0 frees and returns NULL; NULL says that there is no memory. old_size is
 * that of the block, 0 for a new one. */
typedef void *(*harness_allocate_fn)(void *user, void *block, size_t old_size, size_t new_size);
/* A line of the log: JSON without a line end. */
typedef void (*harness_log_fn)(void *user, const char *line, size_t len);
/* The text of a Lua module for `require`, or NULL when there is none of that name; valid until the next
 * call. */
typedef const char *(*harness_module_fn)(void *user, const char *name, size_t *len);

struct harness_http;
struct harness_process;

typedef struct harness_options {
    size_t size;
    harness_allocate_fn allocate; /* NULL: its own, on malloc and mmap */
    void *allocate_user;
    size_t
        memory_limit;   /* bytes that Lua may hold; 0: none. Reaching it is an error, not a crash */
    harness_log_fn log; /* NULL: nothing is logged */
    void *log_user;
    const char *log_level;   /* "trace" to "fatal"; NULL: "warn" */
    void *uv_loop;           /* the host's uv_loop_t, which the host runs; NULL: one of its own */
    const char *module_path; /* where `require` looks, as package.path; NULL: nowhere */
    harness_module_fn module;
    void *module_user;
    const struct harness_http *http; /* NULL: libcurl */
    const struct harness_process
        *process;          /* NULL: uv_spawn, if allow_signals; else there are no child processes */
    int allow_environment; /* proxies, log level, LUA_PATH from the environment */
    int allow_bytecode;    /* harness_load_* take compiled Lua, too */
    int no_threads; /* libuv's thread pool is not used: names cannot be resolved, addresses can */
    uint32_t host_pump_us; /* with uv_loop: budget of each turn; 0: 2000 */
    int allow_signals;     /* child processes by uv_spawn, with its handler for SIGCHLD */
} harness_options;
#define HARNESS_OPTIONS_INIT                                                                       \
    { sizeof(harness_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Makes an engine. options may be NULL. NULL: error says why. */
HARNESS_API harness_engine *harness_new(const harness_options *options, harness_error *error);

/* Cancels what runs, joins it (at most about four seconds, for code that does not stop when it is told
 * to), tells each unfinished run's on_done, and frees everything; handles of runs are invalid
 * afterwards. Child processes of the host's starter are killed, not waited for, and released. Returns
 * HARNESS_EBUSY inside callbacks, HARNESS_ETHREAD elsewhere. NULL is allowed. With a
 * uv loop of the host's it turns that loop until its handles are closed. */
HARNESS_API int harness_free(harness_engine *engine);

/* The version of the library, "0.1.0". */
HARNESS_API const char *harness_version(void);

/* Loads a script and runs it as a task, which may wait: returns when it has ended or waits for the first
 * time. A harness that it returns is what harness_start uses from then on, as soon as the script has
 * ended; what goes wrong after the first wait goes to the log. */
HARNESS_API int harness_load_file(harness_engine *engine, const char *path, harness_error *error);
/* The same from memory; name is for messages ("npc.lua"). */
HARNESS_API int harness_load_buffer(harness_engine *engine, const char *text, size_t len,
                                    const char *name, harness_error *error);

typedef struct harness_memory_figures {
    size_t size;
    size_t lua_bytes; /* what Lua and the handles hold now */
    size_t lua_peak;
    size_t limit;
    uint64_t allocations; /* since harness_new */
    uint64_t runs;        /* handles that were not released */
} harness_memory_figures;
#define HARNESS_MEMORY_FIGURES_INIT                                                                \
    { sizeof(harness_memory_figures), 0, 0, 0, 0, 0 }

HARNESS_API int harness_memory(harness_engine *engine, harness_memory_figures *figures);

/* ---- runs ---------------------------------------------------------------------------------- */

enum harness_run_state {
    HARNESS_RUNNING = 0,
    HARNESS_SUCCEEDED = 1,
    HARNESS_FAILED = 2,
    HARNESS_CANCELLED = 3
};

/* An event of the run as JSON ({"type":"model.delta",...}); len without the NUL behind it. */
typedef void (*harness_event_fn)(harness_run *run, const char *json, size_t len, void *user);
/* The end, once: json is the output, or the error {"code",...}. No event comes after it. */
typedef void (*harness_done_fn)(harness_run *run, enum harness_run_state state, const char *json,
                                size_t len, void *user);

typedef struct harness_request {
    size_t size;
    const char *session;       /* id of the session; NULL: a new one */
    const char *target;        /* an agent or a workflow of the harness that was loaded last */
    const char *input_json;    /* NULL: no input */
    const char *options_json;  /* {"timeout_ms": 1000, "metadata": {...}}; NULL: none */
    harness_event_fn on_event; /* NULL: events are not wanted */
    harness_done_fn on_done;   /* NULL: ask harness_run_status */
    void *user;
} harness_request;
#define HARNESS_REQUEST_INIT                                                                       \
    { sizeof(harness_request), 0, 0, 0, 0, 0, 0, 0 }

/* Starts a run, and returns at once. The handle is the caller's until harness_run_release, also after
 * the run is done. What is wrong with the request is told here; what happens later (the session is busy)
 * by on_done. NULL: error says why. */
HARNESS_API harness_run *harness_start(harness_engine *engine, const harness_request *request,
                                       harness_error *error);
/* Asks the run to stop; harmless when it is done. reason: NULL or text. A handle that was released is
 * recognised (HARNESS_EINVAL) until 1,024 others have been released after it. */
HARNESS_API int harness_cancel(harness_run *run, const char *reason);
/* Gives the handle back; a run that is not done goes on without it, and calls no callback any more. */
HARNESS_API int harness_run_release(harness_run *run);
/* A harness_run_state, or HARNESS_EINVAL. */
HARNESS_API int harness_run_status(const harness_run *run);

/* ---- the loop ------------------------------------------------------------------------------ */

/* Does work that is ready, and calls callbacks, until budget_us microseconds are used or nothing is
 * left; never waits. Returns how much is left to do (0: nothing until something happens outside), or a
 * HARNESS_E number. The budget is looked at between two resumes of Lua code: one that computes for long
 * is the script's own time, see harness_longest_resume_us. */
HARNESS_API int harness_pump(harness_engine *engine, uint32_t budget_us);
/* Waits until there is something to do, at most timeout_ms (negative: for as long as it takes), and
 * pumps. Not with a uv loop of the host's. */
HARNESS_API int harness_wait(harness_engine *engine, int timeout_ms);
/* A descriptor that is readable when harness_pump has something to do (for epoll, poll, select), once
 * harness_next_timeout_ms was waited for as well. Valid as long as the engine. */
HARNESS_API int harness_poll_fd(harness_engine *engine);
/* Milliseconds until harness_pump has something to do without anything happening outside: 0: now, -1:
 * never. Ask after each pump. */
HARNESS_API int harness_next_timeout_ms(harness_engine *engine);
/* The longest single resume of Lua code since the last question, in microseconds. */
HARNESS_API uint64_t harness_longest_resume_us(harness_engine *engine);

/* From any thread: makes harness_wait return, and the poll descriptor readable. */
HARNESS_API void harness_wakeup(harness_engine *engine);
/* From any thread: fn(engine, user) is called once by the engine's thread, from the next pump. Returns 0
 * or HARNESS_ENOMEM. What was posted before harness_free is called by it; what is posted meanwhile may be
 * forgotten. Not after it: whoever posts must know that the engine lives. */
typedef void (*harness_post_fn)(harness_engine *engine, void *user);
HARNESS_API int harness_post(harness_engine *engine, harness_post_fn fn, void *user);

/* ---- functions of the host ----------------------------------------------------------------- */

/* Called by Lua with its argument as JSON ("null" without one). Answers by one of the two functions
 * below, or not at all for null. Runs inside a script: of this header it may call those two,
 * harness_wakeup and harness_post. */
typedef void (*harness_host_fn)(void *user, const char *json, size_t len, harness_reply *reply);

typedef struct harness_function {
    const char *name; /* [a-z][a-z0-9_]*; NULL ends the list */
    harness_host_fn fn;
    const char *description;  /* for models; NULL: it is no tool */
    const char *input_schema; /* JSON Schema of an object; NULL: it is no tool */
} harness_function;

/* Makes a global table of functions: `world.look { at = "door" }`. One with a description and a schema
 * can be an agent's tool as well: `tools = { look = world.look }`. The list is copied, its strings too.
 * Before harness_load_*. A name that Lua has already (`string`) is refused, one that was registered before
 * is replaced. */
HARNESS_API int harness_register(harness_engine *engine, const char *table,
                                 const harness_function *functions, void *user,
                                 harness_error *error);
/* The answer, JSON text; copied. */
HARNESS_API void harness_reply_json(harness_reply *reply, const char *json, size_t len);
/* The call raises an error with this code and message. */
HARNESS_API void harness_reply_error(harness_reply *reply, const char *code, const char *message);

/* ---- HTTP and processes of the host -------------------------------------------------------- */

/* A transfer that the engine wants. All of it is valid until start returns, and the body until `stop` or
 * harness_http_end. */
typedef struct harness_http_request {
    size_t size;
    const char *method;
    const char *url;
    const char *const *headers; /* name, value, name, value, ... */
    size_t header_count;        /* of pairs */
    const char *body;
    size_t body_len;
} harness_http_request;
typedef struct harness_http_transfer harness_http_transfer;

/* How the host moves bytes for the engine: called on the engine's thread, and reporting there by the
 * three functions below, never from inside start. Limits and clocks are the engine's. */
typedef struct harness_http {
    size_t size;
    void *user;
    /* Starts it; returns a handle of the host's that is not NULL, or NULL. */
    void *(*start)(void *user, const harness_http_request *request,
                   harness_http_transfer *transfer);
    /* The engine wants no more of it: end it at once, report nothing. */
    void (*stop)(void *user, void *handle);
    /* After harness_http_body returned 1: there is room again, offer the same bytes again. NULL: the
     * host offers them from time to time by itself. */
    void (*resume)(void *user, void *handle);
} harness_http;

/* The head of the response. Returns 0, or -1: the transfer was ended (end it, report nothing; `stop` is
 * not called). */
HARNESS_API int harness_http_head(harness_http_transfer *transfer, int status,
                                  const char *const *headers, size_t header_count);
/* Bytes of its body. Returns 0: taken; 1: not now (see resume); -1 as above. */
HARNESS_API int harness_http_body(harness_http_transfer *transfer, const char *bytes, size_t len);
/* The end: message NULL when it ended well, else why not. The handle is not used any more. */
HARNESS_API void harness_http_end(harness_http_transfer *transfer, const char *message);

typedef struct harness_process_request {
    size_t size;
    const char *file;
    const char *const *args; /* args[0] is its name; ends with NULL */
    const char *const *env;  /* "NAME=value", ends with NULL; NULL: the host's own */
    const char *cwd;
    int fds[3]; /* its standard streams; the engine closes its copies after start */
} harness_process_request;
typedef struct harness_child harness_child;

/* How the host starts child processes. Commands of a sandbox that isolates them (bash) need more descriptors
 * than a request has, and another user: they are an error (SANDBOX_ERROR, exec_failed) with a host's own starter. */
typedef struct harness_process {
    size_t size;
    void *user;
    /* Starts it as the leader of a process group, sets *pid and *handle. Returns 0 or an errno. When it
     * has exited, harness_process_exited is called once, on the engine's thread, not from inside start. */
    int (*start)(void *user, const harness_process_request *request, harness_child *child, int *pid,
                 void **handle);
    /* Signals the whole group. */
    void (*signal)(void *user, void *handle, int signum);
    /* It is over, and nobody signals it any more: the child is not valid from here on. One that has not
     * exited by then (harness_free) was sent SIGKILL; report nothing of it. */
    void (*release)(void *user, void *handle);
} harness_process;
HARNESS_API void harness_process_exited(harness_child *child, int exit_code, int signal);

#ifdef __cplusplus
}
#endif

#endif
