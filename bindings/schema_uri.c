/* schema_uri.c - just enough of RFC 3986 for $id and $ref: splitting a reference and resolving it
 * against a base. Nothing is normalised beyond dot segments, nothing is ever fetched. */
#include <lauxlib.h>
#include <string.h>

#include "schema_compile.h"

struct span {
    const char *text;
    size_t len;
    bool there;
};

struct uri {
    struct span scheme, authority, path, query;
    const char *fragment; /* behind the #, or NULL */
};

static struct span take_until(const char **p, const char *stop) {
    struct span span = {*p, strcspn(*p, stop), true};
    *p += span.len;
    return span;
}

static bool is_scheme(const struct span *span) {
    if (!span->len ||
        !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", span->text[0])) {
        return false;
    }
    for (size_t i = 1; i < span->len; i++) {
        char ch = span->text[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        if (!letter && !(ch >= '0' && ch <= '9') && !strchr("+-.", ch)) return false;
    }
    return true;
}

/* RFC 3986, appendix B. */
static struct uri split(const char *text) {
    struct uri uri = {0};
    const char *p = text;
    struct span first = take_until(&p, ":/?#");
    if (*p == ':' && is_scheme(&first)) {
        uri.scheme = first;
        p++;
    } else {
        p = text;
    }
    if (p[0] == '/' && p[1] == '/') {
        p += 2;
        uri.authority = take_until(&p, "/?#");
    }
    uri.path = take_until(&p, "?#");
    if (*p == '?') {
        p++;
        uri.query = take_until(&p, "#");
    }
    if (*p == '#') uri.fragment = p + 1;
    return uri;
}

/* Pushes the path without its dot segments (5.2.4). */
static void push_without_dots(lua_State *L, const char *path, size_t len) {
    char *out = lua_newuserdatauv(L, len + 1, 0);
    size_t used = 0;
    const char *p = path, *end = path + len;
    while (p < end) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t n = (size_t)((slash ? slash : end) - p);
        bool one = n == 1 && p[0] == '.', two = n == 2 && p[0] == '.' && p[1] == '.';
        if (two && used) {
            used--;
            while (used && out[used - 1] != '/') used--;
        }
        if (!one && !two) {
            memcpy(out + used, p, n);
            used += n;
            if (slash) out[used++] = '/';
        }
        p += n + (slash ? 1 : 0);
    }
    if (len && path[0] == '/' && (!used || out[0] != '/')) {
        memmove(out + 1, out, used < len ? used : len - 1);
        out[0] = '/';
        used++;
    }
    lua_pushlstring(L, out, used);
    lua_remove(L, -2);
}

/* Pushes the reference's path as seen from the base's (5.2.3). */
static void push_merged(lua_State *L, const struct uri *base, const struct uri *ref) {
    size_t keep = base->path.len;
    while (keep && base->path.text[keep - 1] != '/') keep--;
    if (ref->path.len && ref->path.text[0] == '/') keep = 0;
    bool root = keep == 0 && base->authority.there && ref->path.text[0] != '/';
    lua_pushstring(L, root ? "/" : "");
    lua_pushlstring(L, base->path.text, keep);
    lua_pushlstring(L, ref->path.text, ref->path.len);
    lua_concat(L, 3);
    size_t len;
    const char *merged = lua_tolstring(L, -1, &len);
    push_without_dots(L, merged, len);
    lua_remove(L, -2);
}

static void push_span(lua_State *L, const char *before, const struct span *span,
                      const char *after) {
    lua_pushstring(L, span->there ? before : "");
    lua_pushlstring(L, span->there ? span->text : "", span->len);
    lua_pushstring(L, span->there ? after : "");
    lua_concat(L, 3);
}

const char *schema_push_resolved(lua_State *L, const char *base_text, const char *reference) {
    struct uri base = split(base_text), ref = split(reference);
    struct uri target = ref;
    luaL_checkstack(L, 16, "schema");
    if (ref.scheme.there) {
        push_without_dots(L, ref.path.text, ref.path.len);
    } else {
        target.scheme = base.scheme;
        if (!ref.authority.there) target.authority = base.authority;
        if (ref.authority.there) {
            push_without_dots(L, ref.path.text, ref.path.len);
        } else if (ref.path.len == 0) {
            lua_pushlstring(L, base.path.text, base.path.len);
            if (!ref.query.there) target.query = base.query;
        } else {
            push_merged(L, &base, &ref);
        }
    }
    push_span(L, "", &target.scheme, ":");
    push_span(L, "//", &target.authority, "");
    lua_pushvalue(L, -3);
    push_span(L, "?", &target.query, "");
    lua_concat(L, 4);
    lua_remove(L, -2);
    return ref.fragment;
}
