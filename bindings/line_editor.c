/* line_editor.c - a line of a terminal, edited by libedit, for `harness-lua chat`. Part of the command
 * only. libedit is loaded when it is asked for first, so that no other command pays for it.
 *
 *     native.line_editor(file) -> editor | nil, why    file: what the prompt is written to
 *     editor:begin(prompt)    shows the prompt; from now on keys are taken
 *     editor:line() -> "wait" | "end" | "line", text   what there is; after a line, begin anew
 *     editor:stop()           gives the terminal back; a line that was begun is lost
 *     editor:arm(token), editor:disarm()               see bindings.h
 *     editor:recall(line)     a line that the arrow keys bring back
 *     editor:append(path, text) -> true | nil, why     to a file that its owner alone may read
 *
 * libedit's callback has no argument of ours, so one editor exists at a time in the program.
 *
 * While a line is typed the terminal is in a mode of libedit's. It is set again when the program goes
 * on after Ctrl-Z, and a window of another size is told to libedit, which looks at that only once. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "bindings.h"
#include "line_editor.h"

#define EDITOR "harness.line_editor"

typedef void line_fn(char *line);

struct libedit {
    void (*install)(const char *prompt, line_fn *fn);
    void (*read_char)(void);
    void (*remove)(void);
    void (*resize)(void);
    int (*refresh)(void);
    int (*add_history)(const char *line);
    void (*stifle_history)(int most);
    void (*using_history)(void);
    FILE **outstream;
    int *catch_signals;
};

enum { MOST_RECALLED = 1000 };

/* What the loop looks for while a line is typed. */
struct watch {
    uv_poll_t keys;
    uv_signal_t resized, continued;
    int open; /* handles that are not closed yet */
};

struct line_editor {
    struct libedit lib;
    struct waiter waiter;
    struct watch *watch;   /* NULL: no line is typed */
    struct termios typing; /* the terminal's mode meanwhile */
    char *line;            /* malloc'ed by libedit; NULL: none yet */
    bool ended;
};

static struct line_editor *the_editor; /* for on_line */

/* For line_editor_restore, in a signal handler. */
static struct termios before_typing;
static volatile sig_atomic_t is_typing;

static bool load_libedit(struct libedit *lib) {
    void *library = dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    const struct {
        const char *name;
        void *to;
    } symbols[] = {
        {"rl_callback_handler_install", &lib->install},
        {"rl_callback_read_char", &lib->read_char},
        {"rl_callback_handler_remove", &lib->remove},
        {"rl_resize_terminal", &lib->resize},
        {"rl_forced_update_display", &lib->refresh},
        {"add_history", &lib->add_history},
        {"stifle_history", &lib->stifle_history},
        {"using_history", &lib->using_history},
        {"rl_outstream", &lib->outstream},
        {"rl_catch_signals", &lib->catch_signals},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) return false;
        memcpy(symbols[i].to, &symbol, sizeof symbol);
    }
    return true;
}

/* ---- the terminal -------------------------------------------------------------------------- */

void line_editor_restore(void) {
    if (is_typing) tcsetattr(STDIN_FILENO, TCSANOW, &before_typing);
}

static void on_watch_closed(uv_handle_t *handle) {
    struct watch *watch = handle->data;
    if (--watch->open == 0) free(watch);
}

static void close_watched(struct watch *watch, uv_handle_t *handle) {
    handle->data = watch;
    uv_close(handle, on_watch_closed);
}

/* No line is typed any more: gives the terminal back. */
static void stop_typing(struct line_editor *editor) {
    struct watch *watch = editor->watch;
    if (!watch) return;
    editor->watch = NULL;
    editor->lib.remove();
    is_typing = 0;
    close_watched(watch, (uv_handle_t *)&watch->keys);
    close_watched(watch, (uv_handle_t *)&watch->resized);
    close_watched(watch, (uv_handle_t *)&watch->continued);
}

static void on_line(char *line) {
    struct line_editor *editor = the_editor;
    stop_typing(editor); /* or libedit would show its prompt again at once */
    if (line) editor->line = line;
    else editor->ended = true;
}

static void on_key(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct line_editor *editor = poll->data;
    if (status < 0) on_line(NULL); /* the terminal has gone */
    else editor->lib.read_char();  /* calls on_line when that was the last key */
    if (!editor->watch) waiter_wake(&editor->waiter);
}

static void draw_again(struct line_editor *editor) {
    fputc('\r', *editor->lib.outstream);
    editor->lib.refresh();
}

static void on_resized(uv_signal_t *signal, int number) {
    (void)number;
    struct line_editor *editor = signal->data;
    editor->lib.resize();
    draw_again(editor);
}

static void on_continued(uv_signal_t *signal, int number) {
    (void)number;
    struct line_editor *editor = signal->data;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &editor->typing);
    draw_again(editor);
}

/* Takes the watch over: it is freed when its handles are closed, or now. */
static int start_watching(struct line_editor *editor, struct watch *watch) {
    uv_loop_t *uv = loop_uv(editor->waiter.loop);
    int rc = uv_signal_init(uv, &watch->resized);
    if (rc) {
        free(watch);
        return rc;
    }
    uv_signal_init(uv, &watch->continued); /* fails only where the first one of a loop does */
    watch->open = 2;
    rc = uv_poll_init(uv, &watch->keys, STDIN_FILENO);
    if (rc) {
        close_watched(watch, (uv_handle_t *)&watch->resized);
        close_watched(watch, (uv_handle_t *)&watch->continued);
        return rc;
    }
    watch->open = 3;
    watch->keys.data = watch->resized.data = watch->continued.data = editor;
    uv_poll_start(&watch->keys, UV_READABLE, on_key);
    uv_signal_start(&watch->resized, on_resized, SIGWINCH);
    uv_signal_start(&watch->continued, on_continued, SIGCONT);
    editor->watch = watch;
    return 0;
}

static struct line_editor *check_editor(lua_State *L) {
    return luaL_checkudata(L, 1, EDITOR);
}

static int editor_begin(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    const char *prompt = luaL_checkstring(L, 2);
    if (editor->watch) return 0;
    free(editor->line);
    editor->line = NULL;
    editor->ended = false; /* Ctrl-D ends a line; a terminal that has gone says so each time */
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch) return luaL_error(L, "not enough memory");
    int rc = start_watching(editor, watch);
    if (rc) return luaL_error(L, "the terminal cannot be read: %s", uv_strerror(rc));
    editor->lib.resize(); /* it may have another size than at the last line */
    if (tcgetattr(STDIN_FILENO, &before_typing) == 0) is_typing = 1;
    editor->lib.install(prompt, on_line);
    tcgetattr(STDIN_FILENO, &editor->typing);
    return 0;
}

static int editor_stop(lua_State *L) {
    stop_typing(check_editor(L));
    return 0;
}

static int editor_line(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    if (!editor->line) {
        lua_pushstring(L, editor->ended ? "end" : "wait");
        return 1;
    }
    lua_pushliteral(L, "line");
    lua_pushstring(L, editor->line);
    free(editor->line);
    editor->line = NULL;
    return 2;
}

static int editor_arm(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    bool ready = editor->line || editor->ended;
    if (!ready) editor->waiter.token = (uint64_t)luaL_checkinteger(L, 2);
    lua_pushboolean(L, ready);
    return 1;
}

static int editor_disarm(lua_State *L) {
    check_editor(L)->waiter.token = 0;
    return 0;
}

/* ---- history ------------------------------------------------------------------------------- */

static int editor_recall(lua_State *L) {
    check_editor(L)->lib.add_history(luaL_checkstring(L, 2));
    return 0;
}

static bool write_all(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno != EINTR) return false;
        if (n < 0) continue;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* What people type is theirs: a file that others may read is made private first. */
static int editor_append(lua_State *L) {
    const char *path = luaL_checkstring(L, 2);
    size_t size;
    const char *text = luaL_checklstring(L, 3, &size);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) return luaL_fileresult(L, 0, NULL);
    struct stat is;
    bool ok = fstat(fd, &is) == 0;
    if (ok && S_ISREG(is.st_mode) && (is.st_mode & 077)) ok = fchmod(fd, 0600) == 0;
    ok = ok && write_all(fd, text, size);
    int error = errno;
    if (close(fd) != 0 && ok) return luaL_fileresult(L, 0, NULL);
    errno = error;
    return luaL_fileresult(L, ok, NULL);
}

/* ---- the editor ---------------------------------------------------------------------------- */

static int editor_gc(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    stop_typing(editor);
    free(editor->line);
    editor->line = NULL;
    if (the_editor == editor) the_editor = NULL;
    return 0;
}

static const luaL_Reg METHODS[] = {
    {"begin", editor_begin},   {"stop", editor_stop},
    {"line", editor_line},     {"arm", editor_arm},
    {"disarm", editor_disarm}, {"recall", editor_recall},
    {"append", editor_append}, {NULL, NULL},
};

/* Characters of more than one byte are whole only in a locale that has them. */
static void use_utf8(void) {
    if (setlocale(LC_CTYPE, "") && MB_CUR_MAX > 1) return;
    setlocale(LC_CTYPE, "C.UTF-8");
}

int line_editor_new(lua_State *L) {
    luaL_Stream *out = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    struct libedit lib;
    if (the_editor || !load_libedit(&lib)) {
        lua_pushnil(L);
        lua_pushstring(L, the_editor ? "there is one already" : "libedit is not installed");
        return 2;
    }
    struct line_editor *editor = lua_newuserdatauv(L, sizeof *editor, 1);
    *editor = (struct line_editor){.lib = lib, .waiter = {.loop = core_get(L)->loop}};
    if (luaL_newmetatable(L, EDITOR)) {
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, editor_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 1); /* the file lives as long */
    lua_setiuservalue(L, -2, 1);
    use_utf8();
    *lib.outstream = out->f;
    *lib.catch_signals = 0; /* Ctrl-C is main.c's */
    lib.using_history();
    lib.stifle_history(MOST_RECALLED);
    the_editor = editor;
    return 1;
}
