/* files_directory_list.c - directory by directory, each opened anew by its path: so only one is
 * open at a time, and a directory that was replaced by a link meanwhile is not entered. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "files_directory_impl.h"

enum { DENTS_SIZE = 32768 };

/* A directory still to be read: its path below the one that is listed. */
struct pending {
    struct pending *next;
    size_t len;
    char below[];
};

struct listing {
    struct directory_files *d;
    struct files_list *list;
    const char *shown; /* the path as it was asked for; the root is "" */
    size_t shown_len;
    struct place real; /* and without links */
    struct pending *pending;
    size_t visited;
    uint64_t total_bytes; /* of all regular files */
    bool measuring;       /* for the total only */
    char text[2 * PATH_BYTES_MAX];
};

static enum files_error add_pending(struct listing *l, const char *below, size_t below_len,
                                    const char *name, size_t name_len) {
    struct pending *pending = malloc(sizeof *pending + below_len + 1 + name_len);
    if (!pending) return FILES_ENOMEM;
    memcpy(pending->below, below, below_len);
    pending->below[below_len] = '/';
    memcpy(pending->below + below_len + 1, name, name_len);
    pending->len = below_len + 1 + name_len;
    pending->next = l->pending;
    l->pending = pending;
    return FILES_OK;
}

/* What an entry is. A link is what it leads to, if that is in the tree. False: it has vanished. */
static bool look(struct listing *l, int fd, const char *name, unsigned char type,
                 struct files_stat *out) {
    struct stat st;
    *out = (struct files_stat){.kind = FILES_OTHER};
    if (type == DT_DIR) out->kind = FILES_DIRECTORY;
    if (type == DT_DIR || (type == DT_REG && l->list->no_sizes && !l->measuring)) {
        if (type == DT_REG) out->kind = FILES_FILE;
        return true;
    }
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return false;
    if (S_ISREG(st.st_mode)) {
        *out = (struct files_stat){.kind = FILES_FILE, .size = (uint64_t)st.st_size};
        l->total_bytes += out->size;
    } else if (S_ISDIR(st.st_mode)) {
        out->kind = FILES_DIRECTORY;
    } else if (S_ISLNK(st.st_mode) && !l->measuring &&
               directory_stat(&l->d->base, l->text, strlen(l->text), out) != FILES_OK) {
        out->kind = FILES_OTHER;
        l->d->base.detail[0] = '\0'; /* a dead link is no error of the list */
    }
    return true;
}

static enum files_error add_entry(struct listing *l, int fd, const char *below, size_t below_len,
                                  const char *name, unsigned char type) {
    size_t name_len = strlen(name), len = l->shown_len + below_len + 1 + name_len;
    size_t real_len = (l->real.len == 1 ? 0 : l->real.len) + below_len + 1 + name_len;
    if (len > PATH_BYTES_MAX || real_len > PATH_BYTES_MAX) return FILES_OK; /* cannot be named */
    if (++l->visited > FILES_VISITED_MAX) return FILES_ETOOBIG;
    memcpy(l->text, l->shown, l->shown_len);
    memcpy(l->text + l->shown_len, below, below_len);
    l->text[l->shown_len + below_len] = '/';
    memcpy(l->text + l->shown_len + below_len + 1, name, name_len + 1);
    bool wanted = !l->measuring && files_list_wants(l->list, l->text, len);
    bool may_be_directory = type == DT_DIR || type == DT_UNKNOWN;
    struct files_stat stat;
    if (!wanted && !l->measuring && !may_be_directory) return FILES_OK;
    if (!look(l, fd, name, type, &stat)) return FILES_OK;
    enum files_error rc = FILES_OK;
    if (wanted) rc = files_list_add(l->list, l->text, len, stat.kind, stat.size);
    if (rc == FILES_OK && l->list->recursive && may_be_directory && stat.kind == FILES_DIRECTORY)
        rc = add_pending(l, below, below_len, name, name_len);
    return rc;
}

/* Is it the path that is refused? */
static bool is_hidden(const struct listing *l, const char *below, size_t below_len,
                      const char *name) {
    const char *hidden = l->d->base.hidden;
    size_t top = l->real.len == 1 ? 0 : l->real.len, name_len = strlen(name);
    return hidden && strlen(hidden) == top + below_len + 1 + name_len &&
           memcmp(hidden, l->real.path, top) == 0 && memcmp(hidden + top, below, below_len) == 0 &&
           hidden[top + below_len] == '/' && strcmp(hidden + top + below_len + 1, name) == 0;
}

/* /workspace is not where its name is in the private directory, if it was given. */
static bool is_covered(const struct listing *l, size_t below_len, const char *name) {
    return l->d->workspace >= 0 && l->real.len == 1 && below_len == 0 &&
           strcmp(name, "workspace") == 0;
}

static bool is_dots(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static enum files_error read_entries(struct listing *l, int fd, const char *below,
                                     size_t below_len) {
    union {
        char bytes[DENTS_SIZE];
        struct dirent64 align;
    } dents;
    for (;;) {
        ssize_t n = getdents64(fd, dents.bytes, sizeof dents.bytes);
        if (n == 0) return FILES_OK;
        if (n < 0 && errno == ENOENT) return FILES_OK; /* it was removed meanwhile */
        if (n < 0) return directory_errno(l->d, errno, "cannot be listed");
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *entry = (const void *)(dents.bytes + at);
            at += entry->d_reclen;
            if (is_dots(entry->d_name) || is_covered(l, below_len, entry->d_name) ||
                is_hidden(l, below, below_len, entry->d_name))
                continue;
            enum files_error rc = add_entry(l, fd, below, below_len, entry->d_name, entry->d_type);
            if (rc != FILES_OK) return rc;
        }
    }
}

/* Commands can hide what they write in a directory that they close to themselves, and so to us,
 * unless we are root. */
static bool is_closed(int root, const char *beneath) {
    struct stat st;
    uid_t uid = (uid_t)setfsuid((uid_t)-1);
    int fd = directory_openat(root, beneath, O_PATH | O_DIRECTORY, 0);
    bool known = fd >= 0 && fstat(fd, &st) == 0;
    if (fd >= 0) close(fd);
    return known && uid != 0 && st.st_uid == uid && (st.st_mode & 0500) != 0500;
}

/* Reads one directory that was found below. One that has gone or may not be read is passed over:
 * the list is of what there is. */
static enum files_error read_below(struct listing *l, const char *below, size_t below_len) {
    struct place place;
    size_t top = l->real.len == 1 ? 0 : l->real.len;
    const char *beneath;
    memcpy(place.path, l->real.path, top);
    memcpy(place.path + top, below, below_len);
    place.len = top + below_len;
    place.path[place.len] = '\0';
    int root = directory_where(l->d, place.path, place.len, &beneath);
    if (l->measuring && is_closed(root, beneath))
        return files_fail(&l->d->base, FILES_EQUOTA,
                          "cannot be counted for its quota: %.200s is closed to its own user",
                          place.path);
    int fd = directory_openat(root, beneath, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        bool gone = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EACCES;
        return gone ? FILES_OK : directory_errno(l->d, errno, "cannot be listed");
    }
    enum files_error rc = read_entries(l, fd, below, below_len);
    close(fd);
    return rc;
}

static enum files_error list_all(struct listing *l) {
    int fd = -1;
    enum files_error rc = directory_open(l->d, &l->real, O_RDONLY | O_DIRECTORY, &fd);
    bool is_root = l->real.len == 1;
    if (rc != FILES_OK && !(is_root && rc == FILES_ENOENT)) return rc;
    rc = fd >= 0 ? read_entries(l, fd, "", 0) : FILES_OK;
    if (fd >= 0) close(fd);
    if (rc == FILES_OK && is_root && l->d->workspace >= 0)
        rc = add_entry(l, -1, "", 0, "workspace", DT_DIR);
    while (rc == FILES_OK && l->pending) {
        struct pending *next = l->pending;
        l->pending = next->next;
        rc = read_below(l, next->below, next->len);
        free(next);
    }
    while (l->pending) {
        struct pending *next = l->pending;
        l->pending = next->next;
        free(next);
    }
    if (rc == FILES_ETOOBIG)
        return files_fail(&l->d->base, rc,
                          "has too many entries to list: %d of them at most, %d looked at; list a "
                          "smaller directory",
                          FILES_LIST_MAX, FILES_VISITED_MAX);
    return rc;
}

enum files_error directory_list(struct files *f, const char *path, size_t len,
                                struct files_list *list) {
    struct listing l = {.d = directory_of(f), .list = list, .shown = path};
    l.shown_len = len == 1 ? 0 : len;
    place_set(&l.real, path, len);
    return list_all(&l);
}

enum files_error files_directory_measure(struct files *f, uint64_t *bytes) {
    struct directory_files *d = directory_of(f);
    struct files_list list = {.recursive = true};
    struct listing l = {.d = d, .list = &list, .shown = "", .measuring = true};
    place_set(&l.real, "/", 1);
    enum files_error rc = f->closed ? FILES_ECLOSED : list_all(&l);
    if (rc != FILES_OK) return rc;
    *bytes = d->used_bytes = l.total_bytes;
    d->is_measured = true;
    if (!d->quota_bytes || l.total_bytes <= d->quota_bytes) return FILES_OK;
    return files_fail(f, FILES_EQUOTA, "holds %llu bytes, more than its quota of %llu",
                      (unsigned long long)l.total_bytes, (unsigned long long)d->quota_bytes);
}
