/* files_directory_resolve.c - from a path of the tree to a descriptor.
 *
 * The kernel is asked to open the whole path and to follow no link. Nearly always that is all. If
 * there is a link on the way, the path is walked name by name with each hop taken here, since an
 * absolute link starts at the / of the tree, which is no place of the host, and a relative one
 * may lead from /workspace to what is beside it. The result is a path without links, for which
 * the kernel is asked again; if there is a link again, somebody changes the tree meanwhile, and
 * all of it is repeated a few times. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files_directory_impl.h"

enum { HOPS_MAX = 40, TRIES = 32, PENDING_SIZE = 2 * (PATH_BYTES_MAX + 1) };

#define WORKSPACE "/workspace"

void place_set(struct place *place, const char *path, size_t len) {
    memcpy(place->path, path, len);
    place->path[len] = '\0';
    place->len = len;
}

int directory_where(const struct directory_files *d, const char *path, size_t len,
                    const char **beneath) {
    size_t top = strlen(WORKSPACE);
    if (d->workspace >= 0 && path_within(path, len, WORKSPACE, top)) {
        *beneath = len == top ? "." : path + top + 1;
        return d->workspace;
    }
    *beneath = len <= 1 ? "." : path + 1;
    return d->private.tree;
}

int directory_openat(int root, const char *beneath, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    if (root < 0) {
        errno = ENOENT;
        return -1;
    }
    long fd;
    do fd = syscall(SYS_openat2, root, beneath, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    return (int)fd;
}

/* ---- links ---------------------------------------------------------------------------------- */

/* A walk along a path: what was walked has no links, what is pending may. */
struct walk {
    struct directory_files *d;
    struct place walked; /* len 0: the root */
    char pending[PENDING_SIZE];
    size_t at, len;  /* of what is pending */
    size_t link_end; /* what is before that came from a link */
    unsigned hops;
    bool left; /* a link has led out of /workspace */
};

static bool in_workspace(const struct place *place) {
    return path_within(place->path, place->len, WORKSPACE, strlen(WORKSPACE));
}

/* Puts the target of a link in front of what is pending. */
static enum files_error follow(struct walk *w, int link) {
    char target[PATH_BYTES_MAX + 1], rest[PENDING_SIZE];
    ssize_t n = readlinkat(link, "", target, sizeof target);
    if (n < 0) return directory_errno(w->d, errno, "has a link that cannot be read");
    if (++w->hops > HOPS_MAX || (size_t)n >= sizeof target) return FILES_ELOOP;
    size_t rest_len = w->len - w->at;
    size_t rest_link = w->link_end > w->at ? w->link_end - w->at : 0;
    if ((size_t)n + 1 + rest_len >= PENDING_SIZE) return FILES_ELOOP;
    memcpy(rest, w->pending + w->at, rest_len);
    memcpy(w->pending, target, (size_t)n);
    w->pending[n] = '/';
    memcpy(w->pending + n + 1, rest, rest_len);
    w->at = 0;
    w->len = (size_t)n + 1 + rest_len;
    w->link_end = (size_t)n + 1 + rest_link;
    bool inside = in_workspace(&w->walked);
    w->walked.len = path_name_at(w->walked.path, w->walked.len) - 1;
    if (target[0] == '/') w->walked.len = 0;
    w->walked.path[w->walked.len] = '\0';
    if (inside && w->walked.len == 0) w->left = true; /* until it comes back */
    return FILES_OK;
}

/* There is nothing with the next name. What a link names has to exist; what the path itself names
 * may be to be made. */
static enum files_error missing(struct walk *w, bool from_link) {
    bool at_top = path_name_at(w->walked.path, w->walked.len) == 1; /* below it is the tree's */
    if (w->left && at_top && !in_workspace(&w->walked))
        return files_fail(&w->d->base, FILES_EESCAPE,
                          "leads by a symbolic link to %.200s, which is not in the sandbox",
                          w->walked.path);
    if (from_link)
        return files_fail(&w->d->base, FILES_ENOENT,
                          "leads by a symbolic link to %.200s, which does not exist",
                          w->walked.path);
    size_t rest = w->len - w->at;
    if (rest == 0) return FILES_OK;
    if (w->walked.len + 1 + rest > PATH_BYTES_MAX)
        return files_fail(&w->d->base, FILES_EPATH, "%s", path_error_text(PATH_ELONG));
    w->walked.path[w->walked.len++] = '/';
    memcpy(w->walked.path + w->walked.len, w->pending + w->at, rest);
    w->walked.len += rest;
    while (w->walked.path[w->walked.len - 1] == '/') w->walked.len--;
    w->walked.path[w->walked.len] = '\0';
    w->at = w->len;
    return FILES_OK;
}

/* One name. */
static enum files_error step(struct walk *w, const char *name, size_t len, bool from_link) {
    struct place *walked = &w->walked;
    if (len == 0 || (len == 1 && name[0] == '.')) return FILES_OK;
    if (len == 2 && name[0] == '.' && name[1] == '.') {
        bool inside = in_workspace(walked);
        walked->len = walked->len ? path_name_at(walked->path, walked->len) - 1 : 0;
        walked->path[walked->len] = '\0';
        if (inside && !in_workspace(walked)) w->left = true;
        return FILES_OK;
    }
    if (walked->len + 1 + len > PATH_BYTES_MAX)
        return files_fail(&w->d->base, FILES_EPATH, "%s", path_error_text(PATH_ELONG));
    walked->path[walked->len++] = '/';
    memcpy(walked->path + walked->len, name, len);
    walked->len += len;
    walked->path[walked->len] = '\0';
    enum files_error rc = files_check_name(&w->d->base, walked->path, walked->len);
    if (rc != FILES_OK) return rc;
    const char *beneath;
    int root = directory_where(w->d, walked->path, walked->len, &beneath);
    int fd = directory_openat(root, beneath, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0 && errno == ENOENT) return missing(w, from_link);
    if (fd < 0) return directory_errno(w->d, errno, "cannot be opened");
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) rc = follow(w, fd);
    close(fd);
    return rc;
}

enum files_error directory_resolve(struct directory_files *d, struct place *place) {
    struct walk w;
    w.d = d;
    w.walked.len = 0;
    w.walked.path[0] = '\0';
    w.hops = 0;
    w.left = false;
    w.at = w.link_end = 0;
    w.len = place->len;
    memcpy(w.pending, place->path, place->len);
    enum files_error rc = FILES_OK;
    while (rc == FILES_OK && w.at < w.len) {
        const char *name = w.pending + w.at, *slash = memchr(name, '/', w.len - w.at);
        size_t len = slash ? (size_t)(slash - name) : w.len - w.at;
        bool from_link = w.at < w.link_end;
        char copy[PATH_NAME_MAX + 1];
        if (len > PATH_NAME_MAX)
            return files_fail(&d->base, FILES_EPATH, "%s", path_error_text(PATH_ENAME));
        memcpy(copy, name, len);
        w.at += len + (slash != NULL);
        rc = step(&w, copy, len, from_link);
    }
    if (rc != FILES_OK) return rc;
    if (w.walked.len == 0) place_set(place, "/", 1);
    else place_set(place, w.walked.path, w.walked.len);
    return FILES_OK;
}

/* ---- opening -------------------------------------------------------------------------------- */

enum files_error directory_open(struct directory_files *d, struct place *place, int flags,
                                int *fd) {
    for (int i = 0; i < TRIES; i++) {
        const char *beneath;
        int root = directory_where(d, place->path, place->len, &beneath);
        if (root < 0) return FILES_ENOENT;
        *fd = directory_openat(root, beneath, flags, 0);
        if (*fd >= 0) return FILES_OK;
        if (errno != ELOOP) return directory_errno(d, errno, "cannot be opened");
        enum files_error rc = directory_resolve(d, place);
        if (rc != FILES_OK) return rc;
    }
    return files_fail(&d->base, FILES_ELOOP, "changes all the time");
}

/* Makes the directories of a path that has no links. 0 or an errno. */
static int make_all(struct directory_files *d, const char *path, size_t len) {
    const char *beneath;
    char part[PATH_BYTES_MAX + 1];
    int root = directory_where(d, path, len, &beneath);
    if (strcmp(beneath, ".") == 0) return ENOENT; /* the root itself has gone */
    size_t total = (size_t)(path + len - beneath);
    int parent = directory_openat(root, ".", O_PATH | O_DIRECTORY, 0);
    for (size_t at = 0; parent >= 0 && at < total;) {
        const char *slash = memchr(beneath + at, '/', total - at);
        size_t n = slash ? (size_t)(slash - beneath) - at : total - at;
        memcpy(part, beneath + at, n);
        part[n] = '\0';
        at += n + 1;
        int error = mkdirat(parent, part, 0777) == 0 || errno == EEXIST ? 0 : errno;
        int next = error ? -1 : directory_openat(parent, part, O_PATH | O_DIRECTORY, 0);
        if (!error) error = errno;
        close(parent);
        parent = next;
        errno = error;
    }
    if (parent < 0) return errno;
    close(parent);
    return 0;
}

/* One attempt: FILES_OK with out->fd -1 means: once more. */
static enum files_error try_parent(struct directory_files *d, struct place *place, bool make,
                                   bool follow_last, struct parent *out) {
    size_t name_at = path_name_at(place->path, place->len);
    struct place above;
    place_set(&above, place->path, name_at > 1 ? name_at - 1 : 1);
    const char *beneath;
    int root = directory_where(d, above.path, above.len, &beneath);
    if (root < 0) {
        if (!make) return FILES_ENOENT;
        return directory_make_private(d);
    }
    out->name = place->path + name_at;
    out->fd = directory_openat(root, beneath, O_PATH | O_DIRECTORY, 0);
    if (out->fd < 0 && errno == ENOENT && make) {
        enum files_error rc = files_check_change(&d->base, above.path, above.len);
        if (rc != FILES_OK) return rc;
        int error = make_all(d, above.path, above.len);
        return error && error != ELOOP ? directory_errno(d, error, "cannot be made") : FILES_OK;
    }
    if (out->fd < 0 && errno == ELOOP) {
        /* Only the way to the last name, which is followed or not by itself. */
        enum files_error rc = directory_resolve(d, &above);
        if (rc != FILES_OK) return rc;
        size_t len = place->len - name_at, top = above.len == 1 ? 0 : above.len;
        char name[PATH_NAME_MAX + 1];
        memcpy(name, place->path + name_at, len);
        if (top + 1 + len > PATH_BYTES_MAX)
            return files_fail(&d->base, FILES_EPATH, "%s", path_error_text(PATH_ELONG));
        memcpy(place->path, above.path, top);
        place->path[top] = '/';
        memcpy(place->path + top + 1, name, len);
        place->len = top + 1 + len;
        place->path[place->len] = '\0';
        return FILES_OK;
    }
    if (out->fd < 0) return directory_errno(d, errno, "cannot be opened");
    out->exists = fstatat(out->fd, out->name, &out->st, AT_SYMLINK_NOFOLLOW) == 0;
    int error = errno;
    if (out->exists && !(follow_last && S_ISLNK(out->st.st_mode))) return FILES_OK;
    if (!out->exists && error == ENOENT) return FILES_OK;
    close(out->fd);
    out->fd = -1;
    return out->exists ? directory_resolve(d, place) : directory_errno(d, error, "cannot be used");
}

enum files_error directory_parent(struct directory_files *d, struct place *place, bool make,
                                  bool follow_last, struct parent *out) {
    *out = (struct parent){.fd = -1};
    for (int i = 0; i < TRIES; i++) {
        enum files_error rc = try_parent(d, place, make, follow_last, out);
        if (rc == FILES_OK && out->fd < 0) continue;
        if (rc == FILES_OK) rc = files_check_name(&d->base, place->path, place->len);
        if (rc == FILES_OK) rc = files_check_change(&d->base, place->path, place->len);
        if (rc != FILES_OK && out->fd >= 0) close(out->fd);
        return rc;
    }
    return files_fail(&d->base, FILES_ELOOP, "changes all the time");
}
