/* coverage.c - which lines of our Lua modules run. Linked into the cov build only.
 *
 * lua_newstate is wrapped by the linker: each new state gets a line hook, which its coroutines
 * inherit, before any Lua code has run. When the process ends, a line `<file> <line>` for each line
 * that ran is written to $HARNESS_COVERAGE/<process id>.lines. Without that variable nothing is
 * hooked. One thread only, and a process that is killed leaves nothing: enough for specs. */
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FILES = 512, MOST_LINES = 4096 };

static struct file {
    char name[200];
    bool ran[MOST_LINES];
} files[MOST_FILES];
static int file_count;

lua_State *__real_lua_newstate(lua_Alloc allocate, void *user);
lua_State *__wrap_lua_newstate(lua_Alloc allocate, void *user);

static struct file *find_file(const char *name) {
    for (int i = 0; i < file_count; i++)
        if (strcmp(files[i].name, name) == 0) return &files[i];
    if (file_count == MOST_FILES) return NULL;
    snprintf(files[file_count].name, sizeof files[0].name, "%s", name);
    return &files[file_count++];
}

static void on_line(lua_State *L, lua_Debug *ar) {
    static struct file *last; /* most lines follow one of the same file */
    if (!lua_getinfo(L, "S", ar) || strncmp(ar->source, "@lua/", 5) != 0) return;
    if (!last || strcmp(last->name, ar->source + 1) != 0) last = find_file(ar->source + 1);
    if (last && ar->currentline > 0 && ar->currentline < MOST_LINES)
        last->ran[ar->currentline] = true;
}

static void write_lines(void) {
    char path[512];
    snprintf(path, sizeof path, "%s/%ld.lines", getenv("HARNESS_COVERAGE"), (long)getpid());
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return;
    }
    for (int i = 0; i < file_count; i++)
        for (int line = 0; line < MOST_LINES; line++)
            if (files[i].ran[line]) fprintf(out, "%s %d\n", files[i].name, line);
    fclose(out);
}

lua_State *__wrap_lua_newstate(lua_Alloc allocate, void *user) {
    static bool registered;
    lua_State *L = __real_lua_newstate(allocate, user);
    if (!L || !getenv("HARNESS_COVERAGE")) return L;
    lua_sethook(L, on_line, LUA_MASKLINE, 0);
    if (!registered) registered = atexit(write_lines) == 0;
    return L;
}
