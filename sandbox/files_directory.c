/* files_directory.c - opening and closing, reading. How a path is found is in
 * files_directory_resolve.c. */
#include "files_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files_directory_impl.h"

enum { SCRATCH_KEPT = 1 << 20 };

enum files_error directory_errno(struct directory_files *d, int error, const char *what) {
    switch (error) {
    case ENOENT: return FILES_ENOENT;
    case ENOTDIR: return FILES_ENOTDIR;
    case EISDIR: return FILES_EISDIR;
    case ENOTEMPTY:
    case EEXIST: return FILES_ENOTEMPTY;
    case ELOOP: return FILES_ELOOP;
    case EXDEV: return FILES_EESCAPE;
    case ENOSPC:
    case EDQUOT: return FILES_ENOSPC;
    case ENOMEM: return FILES_ENOMEM;
    case ENXIO:
    case ENODEV: return FILES_ESPECIAL;
    case ENAMETOOLONG: return files_fail(&d->base, FILES_EPATH, "%s", path_error_text(PATH_ELONG));
    case ENOSYS:
        return files_fail(&d->base, FILES_EUNSUPPORTED,
                          "needs openat2, which Linux has since version 5.6");
    default: return files_fail(&d->base, FILES_EIO, "%s: %s", what, strerror(error));
    }
}

#ifdef SYS_setgroups32 /* where the other one takes numbers of 16 bits */
#undef SYS_setgroups
#define SYS_setgroups SYS_setgroups32
#endif

/* Of this thread alone, unlike setgroups of the C library. */
static void set_groups(int count, const gid_t *groups) {
    (void)syscall(SYS_setgroups, (long)count, groups);
}

/* The file system sees the owner of the tree, without our groups and the capabilities of root, in
 * this thread. So a file call may do what a command of that user may, and what is made is the
 * owner's. That it works was seen when the tree was opened. */
static void directory_as_owner(struct files *f, bool on) {
    const struct directory_files *d = directory_of(f);
    if (!d->owner.given) return;
    if (!on) (void)setfsuid(geteuid());
    if (d->group_count) set_groups(on ? 0 : d->group_count, d->groups);
    (void)setfsgid(on ? d->owner.gid : getegid());
    if (on) (void)setfsuid(d->owner.uid);
}

/* Can calls be made as the owner? Not where that user has no number in our namespace, or without
 * CAP_SETUID and CAP_SETGID. */
static enum files_error check_owner(struct directory_files *d, char *why) {
    if (!d->owner.given) return FILES_OK;
    int count = getgroups(0, NULL);
    d->groups = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *d->groups);
    if (!d->groups) return FILES_ENOMEM;
    d->group_count = count > 0 && getgroups(count, d->groups) == count ? count : 0;
    directory_as_owner(&d->base, true);
    bool works = getgroups(0, NULL) == 0 && (uid_t)setfsuid((uid_t)-1) == d->owner.uid &&
                 (gid_t)setfsgid((gid_t)-1) == d->owner.gid;
    directory_as_owner(&d->base, false);
    if (works) return FILES_OK;
    snprintf(why, FILES_DETAIL_SIZE,
             "calls cannot be made with the rights of user %lu and group %lu: the engine may not "
             "take them (CAP_SETUID, CAP_SETGID), or they are not in its namespace",
             (unsigned long)d->owner.uid, (unsigned long)d->owner.gid);
    return FILES_EIO;
}

static enum files_error make_private(struct directory_files *d) {
    char why[FILES_DETAIL_SIZE - 32];
    int error = private_make(&d->private, d->private_base, &d->owner, why, sizeof why);
    if (!error) return FILES_OK;
    if (error == ENOMEM) return FILES_ENOMEM;
    return files_fail(&d->base, error == ENOSPC ? FILES_ENOSPC : FILES_EIO, "cannot be used: %s",
                      why);
}

/* Where private directories are is ours, not the owner's. */
enum files_error directory_make_private(struct directory_files *d) {
    if (d->private.tree >= 0) return FILES_OK;
    bool was_owner = d->owner.given && (uid_t)setfsuid((uid_t)-1) != geteuid();
    if (was_owner) directory_as_owner(&d->base, false);
    enum files_error rc = make_private(d);
    if (was_owner) directory_as_owner(&d->base, true);
    return rc;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Opens a regular file. It is looked at before it is opened, since opening a device can have
 * effects, and without blocking, since it may be another file by then. */
static enum files_error open_file(struct directory_files *d, struct place *place, int *fd,
                                  struct stat *st) {
    enum files_error rc = directory_open(d, place, O_PATH, fd);
    if (rc != FILES_OK) return rc;
    bool known = fstat(*fd, st) == 0;
    close(*fd);
    if (!known || S_ISDIR(st->st_mode)) return FILES_EISDIR;
    if (!S_ISREG(st->st_mode)) return FILES_ESPECIAL;
    rc = directory_open(d, place, O_RDONLY | O_NONBLOCK | O_NOCTTY, fd);
    if (rc != FILES_OK) return rc;
    if (fstat(*fd, st) == 0 && S_ISREG(st->st_mode)) return FILES_OK;
    close(*fd);
    return FILES_ESPECIAL;
}

/* Reads to the end, which may be elsewhere than the size said. */
static enum files_error read_all(struct directory_files *d, int fd, size_t size) {
    struct buf *b = &d->scratch;
    if (b->cap > SCRATCH_KEPT) buf_free(b);
    buf_clear(b);
    size_t want = size + 1; /* one more: to see the end */
    for (;;) {
        int rc = buf_reserve(b, want);
        if (rc == BUF_ETOOBIG) return FILES_ETOOBIG;
        if (rc != BUF_OK) return FILES_ENOMEM;
        ssize_t n = read(fd, b->data + b->len, want);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return directory_errno(d, errno, "cannot be read");
        if (n == 0) return FILES_OK;
        b->len += (size_t)n;
        if (b->len == size) return FILES_OK; /* as the size said: not asked once more */
        want = 65536;
    }
}

/* In a batch: opens a file in the directory of the last one. It was listed as a regular file, and
 * if it is none any more, O_NONBLOCK keeps us from waiting. -1: the ordinary way has to tell. */
static int open_near(struct directory_files *d, const char *path, size_t len) {
    const char *beneath;
    size_t name_at = path_name_at(path, len), above = name_at > 1 ? name_at - 1 : 1;
    if (d->near < 0 || d->near_path.len != above || memcmp(d->near_path.path, path, above) != 0) {
        if (d->near >= 0) close(d->near);
        place_set(&d->near_path, path, above);
        int root = directory_where(d, d->near_path.path, above, &beneath);
        d->near = directory_openat(root, beneath, O_PATH | O_DIRECTORY, 0);
    }
    if (d->near < 0) return -1;
    return openat(d->near, path + name_at,
                  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void directory_batch(struct files *f, bool on) {
    struct directory_files *d = directory_of(f);
    if (d->near >= 0) close(d->near);
    d->near = -1;
    d->in_batch = on;
}

static enum files_error directory_read(struct files *f, const char *path, size_t len, uint64_t most,
                                       struct files_data *out) {
    struct directory_files *d = directory_of(f);
    struct place place;
    struct stat st;
    int fd = d->in_batch ? open_near(d, path, len) : -1;
    if (fd >= 0 && !(fstat(fd, &st) == 0 && S_ISREG(st.st_mode))) {
        close(fd);
        fd = -1;
    }
    enum files_error rc = FILES_OK;
    if (fd < 0) {
        place_set(&place, path, len);
        rc = open_file(d, &place, &fd, &st);
    }
    if (rc != FILES_OK) return rc;
    if ((uint64_t)st.st_size > most) rc = FILES_ETOOBIG;
    if (rc == FILES_OK) rc = read_all(d, fd, (size_t)st.st_size);
    close(fd);
    *out =
        (struct files_data){.bytes = d->scratch.data ? d->scratch.data : "", .len = d->scratch.len};
    return rc;
}

enum files_error directory_stat(struct files *f, const char *path, size_t len,
                                struct files_stat *out) {
    struct directory_files *d = directory_of(f);
    struct place place;
    struct stat st;
    int fd;
    place_set(&place, path, len);
    enum files_error rc = directory_open(d, &place, O_PATH, &fd);
    if (rc == FILES_ENOENT && place.len == 1) {
        *out = (struct files_stat){.kind = FILES_DIRECTORY}; /* not made yet, and empty */
        return FILES_OK;
    }
    if (rc != FILES_OK) return rc;
    if (fstat(fd, &st) != 0) rc = directory_errno(d, errno, "cannot be looked at");
    close(fd);
    if (rc != FILES_OK) return rc;
    bool is_file = S_ISREG(st.st_mode), is_directory = S_ISDIR(st.st_mode);
    *out = (struct files_stat){
        .kind = is_file        ? FILES_FILE
                : is_directory ? FILES_DIRECTORY
                               : FILES_OTHER,
        .size = is_file ? (uint64_t)st.st_size : 0,
        .modified_ms = st.st_mtim.tv_sec < 0 ? 0
                                             : (uint64_t)st.st_mtim.tv_sec * 1000 +
                                                   (uint64_t)st.st_mtim.tv_nsec / 1000000,
    };
    return FILES_OK;
}

static enum files_error directory_follow(struct files *f, char path[PATH_BYTES_MAX + 1],
                                         size_t *len) {
    struct place place;
    place_set(&place, path, *len);
    enum files_error rc = directory_resolve(directory_of(f), &place);
    memcpy(path, place.path, place.len + 1);
    *len = place.len;
    return rc;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void directory_close(struct files *f) {
    struct directory_files *d = directory_of(f);
    directory_forget_snapshots(d);
    directory_batch(f, false);
    if (d->workspace >= 0) close(d->workspace);
    d->workspace = -1;
    private_free(&d->private);
    buf_free(&d->scratch);
    free(d->workspace_path);
    free(d->private_base);
    free(d->groups);
    free(d->hidden);
    d->groups = NULL;
    d->base.hidden = d->hidden = NULL;
    d->workspace_path = d->private_base = NULL;
}

static void directory_free(struct files *f) {
    free(f);
}

static const struct files_ops OPS = {
    .kind = "directory",
    .read = directory_read,
    .write = directory_write,
    .make_directory = directory_make_directory,
    .remove = directory_remove,
    .list = directory_list,
    .stat = directory_stat,
    .follow = directory_follow,
    .snapshot = directory_snapshot,
    .restore = directory_restore,
    .close = directory_close,
    .free = directory_free,
    .batch = directory_batch,
    .as_owner = directory_as_owner,
};

/* Opens the given root, and finds out whether the kernel has what we need. */
static enum files_error open_root(struct directory_files *d, const char *root, char *why) {
    d->workspace = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (d->workspace < 0) {
        snprintf(why, FILES_DETAIL_SIZE, "the root %.200s cannot be opened: %s", root,
                 strerror(errno));
        return errno == ENOENT ? FILES_ENOENT : FILES_EIO;
    }
    int probe = directory_openat(d->workspace, ".", O_PATH | O_DIRECTORY, 0);
    if (probe >= 0) {
        close(probe);
        return FILES_OK;
    }
    snprintf(why, FILES_DETAIL_SIZE, "the root %.200s cannot be used%s: %s", root,
             errno == ENOSYS ? ": it needs openat2, which Linux has since version 5.6" : "",
             strerror(errno));
    return errno == ENOSYS ? FILES_EUNSUPPORTED : FILES_EIO;
}

/* Where private directories are may be below the root: that is not part of the tree, or sessions
 * could get at what is in others, and a snapshot would hold itself. */
static enum files_error hide_private(struct directory_files *d) {
    char root[PATH_MAX], base[PATH_MAX], path[2 * PATH_MAX];
    if (!realpath(d->workspace_path, root) || !realpath(d->private_base, base)) return FILES_OK;
    size_t len = strlen(root) == 1 ? 0 : strlen(root);
    if (!path_within(base, strlen(base), root, strlen(root))) return FILES_OK;
    char name[PRIVATE_HOME_SIZE];
    private_home_name(name);
    snprintf(path, sizeof path, "/workspace%s/%s", strlen(base) == 1 ? "" : base + len, name);
    d->base.hidden = d->hidden = strdup(path);
    return d->hidden ? FILES_OK : FILES_ENOMEM;
}

/* Without a root /workspace is in the private directory. */
static enum files_error make_workspace(struct directory_files *d, char *why) {
    enum files_error rc = directory_make_private(d);
    directory_as_owner(&d->base, true);
    if (rc == FILES_OK) rc = directory_make_directory(&d->base, "/workspace", 10);
    directory_as_owner(&d->base, false);
    if (rc != FILES_OK) {
        char text[FILES_DETAIL_SIZE];
        files_message(&d->base, rc, text, sizeof text);
        snprintf(why, FILES_DETAIL_SIZE, "the sandbox %.*s", FILES_DETAIL_SIZE - 16, text);
    }
    return rc;
}

enum files_error files_directory_new(const struct files_directory_options *options,
                                     struct files **out, char why[FILES_DETAIL_SIZE]) {
    *out = NULL;
    snprintf(why, FILES_DETAIL_SIZE, "not enough memory");
    struct directory_files *d = calloc(1, sizeof *d);
    if (!d) return FILES_ENOMEM;
    files_init(&d->base, &OPS);
    d->workspace = d->near = -1;
    private_init(&d->private);
    buf_init(&d->scratch, FILES_READ_MAX + 1);
    d->base.no_system_names = options->no_system_names;
    d->owner = (struct private_owner){
        .given = options->has_owner, .uid = options->uid, .gid = options->gid};
    d->quota_bytes = options->quota_bytes;
    d->private_base = strdup(options->base);
    enum files_error rc = d->private_base ? check_owner(d, why) : FILES_ENOMEM;
    if (rc == FILES_OK && options->root) {
        d->workspace_path = strdup(options->root);
        rc = d->workspace_path ? open_root(d, options->root, why) : FILES_ENOMEM;
        if (rc == FILES_OK) rc = hide_private(d);
    } else if (rc == FILES_OK) {
        rc = make_workspace(d, why);
    }
    if (rc == FILES_OK) *out = &d->base;
    else files_free(&d->base);
    return rc;
}

bool files_directory_host(struct files *f, bool make, struct files_directory_host *out,
                          enum files_error *error) {
    if (f->ops != &OPS) return false;
    struct directory_files *d = directory_of(f);
    f->detail[0] = '\0';
    *error = f->closed ? FILES_ECLOSED : FILES_OK;
    if (make && *error == FILES_OK) *error = directory_make_private(d);
    *out = (struct files_directory_host){.private_path = d->private.path,
                                         .workspace = d->workspace_path};
    return true;
}

void files_directory_sweep(const char *base) {
    private_sweep(base);
}
