/* fuzz_path.c - a normal path is what a list of names, built another way, says; normalising it
 * once more changes nothing; it keeps to the limits; and a path is within another exactly if its
 * list of names begins with the other's.
 *
 * Input: a byte of flags (1: few different bytes), one that says how often the rest is repeated,
 * the path. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../sandbox/path.h"

enum { HEAD = 2, MAX_NAMES = 8192, MAX_INPUT = 16384 };

struct name {
    const char *at;
    size_t len;
};

static void check(bool ok) {
    if (!ok) abort();
}

/* The names of a path, with `..` taken into account; -1: a name is too long. */
static int names_of(const char *path, size_t len, struct name names[MAX_NAMES]) {
    int count = 0;
    size_t begin = 0;
    bool too_long = false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && path[i] != '/') continue;
        struct name name = {path + begin, i - begin};
        begin = i + 1;
        bool dot = name.len == 1 && *name.at == '.';
        bool dots = name.len == 2 && name.at[0] == '.' && name.at[1] == '.';
        if (name.len > PATH_NAME_MAX) too_long = true;
        if (name.len == 0 || dot) continue;
        if (dots && count > 0) count--;
        else if (!dots && count < MAX_NAMES) names[count++] = name;
    }
    return too_long ? -1 : count;
}

static bool is_path_of(const char *out, size_t len, const struct name *names, int count) {
    size_t at = 0;
    if (count == 0) return len == 1 && out[0] == '/';
    for (int i = 0; i < count; i++) {
        if (at + 1 + names[i].len > len || out[at] != '/') return false;
        if (memcmp(out + at + 1, names[i].at, names[i].len) != 0) return false;
        at += 1 + names[i].len;
    }
    return at == len;
}

static void check_normal(const char *path, size_t len, const char *out, size_t out_len) {
    static struct name names[MAX_NAMES];
    char again[PATH_BYTES_MAX + 1];
    size_t again_len;
    int count = names_of(path, len, names);
    check(count >= 0 && out_len <= PATH_BYTES_MAX && out[out_len] == '\0');
    check(is_path_of(out, out_len, names, count));
    check(path_normalise(out, out_len, again, &again_len) == PATH_OK);
    check(again_len == out_len && memcmp(again, out, out_len) == 0);
    check(path_within(out, out_len, "/", 1) && path_within(out, out_len, out, out_len));
    size_t name_at = path_name_at(out, out_len);
    check(name_at == (count ? out_len - names[count - 1].len : out_len));
    if (count < 1 || out_len + 1 > PATH_BYTES_MAX) return;
    size_t above = name_at > 1 ? name_at - 1 : 1;
    check(path_within(out, out_len, out, above));
    check(count == 1 || !path_within(out, above, out, out_len));
    char longer[PATH_BYTES_MAX + 2];
    memcpy(longer, out, out_len);
    longer[out_len] = 'x'; /* a longer last name is another file */
    check(!path_within(longer, out_len + 1, out, out_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char ALPHABET[] = "/./..a/b";
    static struct name names[MAX_NAMES];
    if (size < HEAD) return 0;
    size_t part = size - HEAD, times = 1 + (bytes[0] & 2 ? bytes[1] : 0);
    if (part * times > MAX_INPUT) return 0;
    size_t len = part * times, out_len;
    char *path = malloc(len ? len : 1), out[PATH_BYTES_MAX + 1];
    check(path != NULL);
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = bytes[HEAD + i % part];
        path[i] = bytes[0] & 1 ? ALPHABET[byte % (sizeof ALPHABET - 1)] : (char)byte;
    }
    enum path_error rc = path_normalise(path, len, out, &out_len);
    bool absolute = len > 0 && path[0] == '/';
    check((rc == PATH_ERELATIVE) == !absolute);
    if (absolute) check((rc == PATH_ENUL) == (memchr(path, '\0', len) != NULL));
    if (rc == PATH_ENAME) check(names_of(path, len, names) < 0);
    if (rc == PATH_ELONG) check(len > PATH_BYTES_MAX);
    if (rc == PATH_OK) check_normal(path, len, out, out_len);
    free(path);
    return 0;
}
