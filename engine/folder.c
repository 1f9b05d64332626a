/* folder.c - every step down is an openat of one name with O_NOFOLLOW, so that a link that somebody puts
 * there between two looks leads nowhere; kinds come from fstatat or fstat, never from the path again. */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct walk {
    struct folder_list *out;
    const struct folder_limits *limits; /* NULL: one level, all kinds */
    struct buf name;                    /* of what is looked at */
    size_t visited;
    size_t files;
};

static int fail(struct walk *walk, int rc) {
    if (rc > 0 && walk->name.len && !walk->out->failed)
        walk->out->failed = strndup(walk->name.data, walk->name.len);
    return rc;
}

static int add(struct walk *walk, enum folder_kind kind, uint64_t size) {
    struct folder_list *out = walk->out;
    if (out->count == out->cap) {
        size_t cap = out->cap ? 2 * out->cap : 32;
        struct folder_entry *entries = realloc(out->entries, cap * sizeof *entries);
        if (!entries) return ENOMEM;
        out->entries = entries;
        out->cap = cap;
    }
    char *name = strndup(walk->name.data, walk->name.len);
    if (!name) return ENOMEM;
    out->entries[out->count++] = (struct folder_entry){name, kind, size};
    return 0;
}

static int add_file(struct walk *walk, uint64_t size) {
    const struct folder_limits *limits = walk->limits;
    bool fits = walk->files < limits->files && size <= limits->bytes &&
                walk->out->bytes <= limits->bytes - size;
    if (!fits) return FOLDER_ELIMIT;
    walk->files++;
    walk->out->bytes += size;
    return add(walk, FOLDER_FILE, size);
}

static enum folder_kind kind_of(mode_t mode) {
    if (S_ISREG(mode)) return FOLDER_FILE;
    if (S_ISDIR(mode)) return FOLDER_DIRECTORY;
    return S_ISLNK(mode) ? FOLDER_LINK : FOLDER_OTHER;
}

static int walk_into(struct walk *walk, int fd, int depth);

static int descend(struct walk *walk, int parent, const char *name, int depth) {
    if (depth == FOLDER_DEPTH_MAX) return FOLDER_ELIMIT;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? errno : walk_into(walk, fd, depth + 1);
}

static int take(struct walk *walk, int parent, const char *name, int depth) {
    struct stat st;
    if (++walk->visited > FOLDER_VISITED_MAX) return FOLDER_ELIMIT;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
    enum folder_kind kind = kind_of(st.st_mode);
    uint64_t size = kind == FOLDER_FILE ? (uint64_t)st.st_size : 0;
    if (!walk->limits) return add(walk, kind, size);
    switch (kind) {
    case FOLDER_FILE: return add_file(walk, size);
    case FOLDER_DIRECTORY: return descend(walk, parent, name, depth);
    case FOLDER_LINK: walk->out->links++; return 0;
    default: walk->out->others++; return 0;
    }
}

/* Takes one entry of a directory under its longer name. */
static int take_entry(struct walk *walk, int parent, const char *name, int depth) {
    size_t before = walk->name.len;
    if (before && buf_add_char(&walk->name, '/') != BUF_OK) return ENAMETOOLONG;
    if (buf_add(&walk->name, name, strlen(name)) != BUF_OK) return ENAMETOOLONG;
    int rc = fail(walk, take(walk, parent, name, depth));
    walk->name.len = before;
    return rc;
}

/* Closes fd. */
static int walk_into(struct walk *walk, int fd, int depth) {
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int error = errno;
        close(fd);
        return error;
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            rc = errno;
            break;
        }
        bool is_dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!is_dots) rc = take_entry(walk, fd, entry->d_name, depth);
    }
    closedir(dir);
    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct folder_entry *)a)->name, ((const struct folder_entry *)b)->name);
}

static int start(const char *path, const struct folder_limits *limits, struct folder_list *out) {
    *out = (struct folder_list){0};
    struct walk walk = {.out = out, .limits = limits};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    buf_init(&walk.name, 64 << 10);
    int rc = walk_into(&walk, fd, 0);
    buf_free(&walk.name);
    if (rc == 0 && out->count) qsort(out->entries, out->count, sizeof *out->entries, by_name);
    return rc;
}

int folder_list(const char *path, struct folder_list *out) {
    return start(path, NULL, out);
}

int folder_scan(const char *path, const struct folder_limits *limits, struct folder_list *out) {
    return start(path, limits, out);
}

void folder_list_free(struct folder_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->entries[i].name);
    free(list->entries);
    free(list->failed);
    *list = (struct folder_list){0};
}

/* ---- reading ------------------------------------------------------------------------------- */

/* Opens what the name leads to, one part after another. *fd is -1 after an error. */
static int open_below(const char *path, const char *name, int *fd) {
    int at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = errno;
    while (at >= 0) {
        const char *slash = strchr(name, '/');
        size_t len = slash ? (size_t)(slash - name) : strlen(name);
        char part[256] = "";
        if (len && len < sizeof part) memcpy(part, name, len);
        bool is_name = part[0] && strcmp(part, ".") != 0 && strcmp(part, "..") != 0;
        int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | (slash ? O_DIRECTORY : O_NONBLOCK);
        int next = is_name ? openat(at, part, flags) : -1;
        error = is_name ? errno : EINVAL;
        close(at);
        at = next;
        if (!slash) break;
        name = slash + 1;
    }
    *fd = at;
    if (at >= 0) return 0;
    return error == ELOOP || error == ENXIO ? FOLDER_ENOFILE : error;
}

static int read_slice(int fd, uint64_t offset, size_t max, struct buf *out) {
    while (max > 0) {
        if (buf_reserve(out, max) != BUF_OK) return ENOMEM;
        ssize_t n = pread(fd, out->data + out->len, max, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return 0;
        out->len += (size_t)n;
        offset += (uint64_t)n;
        max -= (size_t)n;
    }
    return 0;
}

int folder_read(const char *path, const char *name, uint64_t offset, size_t max, struct buf *out,
                uint64_t *size) {
    int fd;
    int rc = open_below(path, name, &fd);
    if (rc != 0) return rc;
    struct stat st;
    if (fstat(fd, &st) != 0) {
        rc = errno;
    } else if (!S_ISREG(st.st_mode)) {
        rc = FOLDER_ENOFILE;
    } else {
        *size = (uint64_t)st.st_size;
        uint64_t left = *size > offset ? *size - offset : 0;
        rc = read_slice(fd, offset, left < max ? (size_t)left : max, out);
    }
    close(fd);
    return rc;
}
