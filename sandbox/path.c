/* path.c - names are appended to the output, and ".." takes the last one away again. */
#include "path.h"

#include <string.h>

/* Without the last name of out. */
static size_t parent_len(const char *out, size_t len) {
    while (len > 0 && out[--len] != '/') {}
    return len;
}

enum path_error path_normalise(const char *path, size_t len, char out[PATH_BYTES_MAX + 1],
                               size_t *out_len) {
    if (len == 0 || path[0] != '/') return PATH_ERELATIVE;
    if (memchr(path, '\0', len)) return PATH_ENUL;
    size_t n = 0;
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t end = slash ? (size_t)(slash - path) : len, name_len = end - at;
        const char *name = path + at;
        at = end + 1;
        if (name_len == 0 || (name_len == 1 && name[0] == '.')) continue;
        if (name_len == 2 && name[0] == '.' && name[1] == '.') {
            n = parent_len(out, n);
            continue;
        }
        if (name_len > PATH_NAME_MAX) return PATH_ENAME;
        if (n + 1 + name_len > PATH_BYTES_MAX) return PATH_ELONG;
        out[n++] = '/';
        memcpy(out + n, name, name_len);
        n += name_len;
    }
    if (n == 0) out[n++] = '/';
    out[n] = '\0';
    *out_len = n;
    return PATH_OK;
}

const char *path_error_text(enum path_error error) {
    switch (error) {
    case PATH_OK: break;
    case PATH_ERELATIVE: return "is a relative path; paths are absolute, such as /workspace/a.txt";
    case PATH_ENUL: return "holds a NUL byte";
    case PATH_ENAME: return "has a name of more than 255 bytes";
    case PATH_ELONG: return "is longer than 4095 bytes";
    }
    return "is right";
}

bool path_within(const char *path, size_t len, const char *top, size_t top_len) {
    if (top_len == 1) return true; /* the root */
    return len >= top_len && memcmp(path, top, top_len) == 0 &&
           (len == top_len || path[top_len] == '/');
}

size_t path_name_at(const char *path, size_t len) {
    while (len > 0 && path[len - 1] != '/') len--;
    return len;
}
