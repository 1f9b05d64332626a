/* line_editor.c - a line of a terminal, edited by libedit, for `harness-lua chat`. Part of the command
 * only. libedit is loaded when it is asked for first, so that no other command pays for it.
 *
 *     native.line_editor(file) -> editor | nil, why    file: what the prompt is written to
 *     editor:begin(prompt)    shows the prompt; from now on keys are taken
 *     editor:line() -> "wait" | "end" | "line", text   what there is; after a line, begin anew
 *     editor:stop()           gives the terminal back; a line that was begun is lost
 *     editor:arm(token), editor:disarm()               see bindings.h
 *     editor:remember(line), editor:load(path), editor:save(path, most) -> true | nil, why
 *
 * libedit's callback has no argument of ours, so one editor exists at a time in the program. */
#include <dlfcn.h>
#include <errno.h>
#include <lauxlib.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bindings.h"
#include "line_editor.h"

#define EDITOR "harness.line_editor"

typedef void line_fn(char *line);

struct libedit {
    void (*install)(const char *prompt, line_fn *fn);
    void (*read_char)(void);
    void (*remove)(void);
    int (*add_history)(const char *line);
    int (*read_history)(const char *path);
    int (*write_history)(const char *path);
    void (*stifle_history)(int most);
    void (*using_history)(void);
    FILE **outstream;
    int *catch_signals;
};

struct line_editor {
    struct libedit lib;
    struct waiter waiter;
    uv_poll_t *poll; /* NULL: no key is looked for */
    char *line;      /* malloc'ed by libedit; NULL: none yet */
    bool began;
    bool ended;
};

static struct line_editor *the_editor; /* for on_line */

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
        {"add_history", &lib->add_history},
        {"read_history", &lib->read_history},
        {"write_history", &lib->write_history},
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

/* ---- keys ---------------------------------------------------------------------------------- */

static void on_line(char *line) {
    struct line_editor *editor = the_editor;
    editor->lib.remove(); /* or it would show its prompt again at once */
    editor->began = false;
    if (line) editor->line = line;
    else editor->ended = true;
}

static void on_poll_closed(uv_handle_t *handle) {
    free(handle);
}

static void stop_polling(struct line_editor *editor) {
    if (!editor->poll) return;
    uv_poll_stop(editor->poll);
    uv_close((uv_handle_t *)editor->poll, on_poll_closed);
    editor->poll = NULL;
}

static void on_key(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct line_editor *editor = poll->data;
    if (status < 0) editor->ended = true;
    else editor->lib.read_char(); /* calls on_line when that was the last key */
    if (editor->line || editor->ended) {
        stop_polling(editor);
        waiter_wake(&editor->waiter);
    }
}

static struct line_editor *check_editor(lua_State *L) {
    return luaL_checkudata(L, 1, EDITOR);
}

static int editor_begin(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    const char *prompt = luaL_checkstring(L, 2);
    if (editor->began || editor->ended) return 0;
    free(editor->line);
    editor->line = NULL;
    uv_poll_t *poll = malloc(sizeof *poll);
    if (!poll) return luaL_error(L, "not enough memory");
    int rc = uv_poll_init(loop_uv(editor->waiter.loop), poll, STDIN_FILENO);
    if (rc) {
        free(poll);
        return luaL_error(L, "the terminal cannot be read: %s", uv_strerror(rc));
    }
    poll->data = editor;
    editor->poll = poll;
    uv_poll_start(poll, UV_READABLE, on_key);
    editor->lib.install(prompt, on_line);
    editor->began = true;
    return 0;
}

static int editor_stop(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    stop_polling(editor);
    if (editor->began) editor->lib.remove();
    editor->began = false;
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

static int editor_remember(lua_State *L) {
    check_editor(L)->lib.add_history(luaL_checkstring(L, 2));
    return 0;
}

static int file_result(lua_State *L, int number) {
    if (!number) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, strerror(number));
    return 2;
}

static int editor_load(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    errno = 0;
    int rc = editor->lib.read_history(luaL_checkstring(L, 2));
    return file_result(L, rc ? (errno ? errno : EINVAL) : 0);
}

/* Only for whoever wrote it: what people type is theirs. */
static int editor_save(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    editor->lib.stifle_history((int)luaL_checkinteger(L, 3));
    mode_t mask = umask(077);
    errno = 0;
    int rc = editor->lib.write_history(luaL_checkstring(L, 2));
    int number = errno;
    umask(mask);
    return file_result(L, rc ? (number ? number : EIO) : 0);
}

/* ---- the editor ---------------------------------------------------------------------------- */

static int editor_gc(lua_State *L) {
    struct line_editor *editor = check_editor(L);
    editor_stop(L);
    free(editor->line);
    editor->line = NULL;
    if (the_editor == editor) the_editor = NULL;
    return 0;
}

static const luaL_Reg METHODS[] = {
    {"begin", editor_begin}, {"stop", editor_stop},     {"line", editor_line},
    {"arm", editor_arm},     {"disarm", editor_disarm}, {"remember", editor_remember},
    {"load", editor_load},   {"save", editor_save},     {NULL, NULL},
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
    the_editor = editor;
    return 1;
}
