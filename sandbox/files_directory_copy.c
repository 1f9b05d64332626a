/* files_directory_copy.c - directory by directory, each opened anew by its path in both trees, so
 * that no depth is too deep as long as it has a path.
 *
 * Copying into an empty directory and restoring are one algorithm: the former finds nothing to
 * remove and nothing to compare. */
#include "files_directory_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files_directory_impl.h"
#include "files_directory_remove.h"

enum { CHUNK = 65536 };

#define TEMP_NAME ".harness-lua-restore.tmp"

/* A directory still to be done: its path below both tops. */
struct todo {
    struct todo *next;
    char path[];
};

struct copy {
    int from, to;
    bool is_restore;
    const struct stat *except;
    size_t count;
    struct todo *todo;
};

/* Two directories of the same path. */
struct pair {
    int from, to;
    const char *path; /* "" for the tops */
};

/* ---- files ---------------------------------------------------------------------------------- */

/* The bytes of one file into another, by the cheapest way that works. */
static int copy_bytes(int from, int to) {
    char chunk[CHUNK];
    if (ioctl(to, FICLONE, from) == 0) return 0;
    for (bool by_kernel = true;;) {
        ssize_t n = by_kernel ? copy_file_range(from, NULL, to, NULL, SSIZE_MAX / 2, 0)
                              : read(from, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && by_kernel &&
            (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
            by_kernel = false;
            continue;
        }
        if (n < 0) return errno;
        if (n == 0) return 0;
        for (ssize_t at = 0; !by_kernel && at < n;) {
            ssize_t written = write(to, chunk + at, (size_t)(n - at));
            if (written < 0 && errno != EINTR) return errno;
            if (written > 0) at += written;
        }
    }
}

/* Only root can give files away, and only while it is not at work for somebody else. */
static bool gives_owners(void) {
    return geteuid() == 0 && setfsuid((uid_t)-1) == 0;
}

/* Mode, owner and time. */
static int copy_traits(const struct stat *st, int to) {
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (gives_owners() && fchown(to, st->st_uid, st->st_gid) != 0) return errno;
    if (fchmod(to, st->st_mode & 0777) != 0) return errno;
    return futimens(to, times) == 0 ? 0 : errno;
}

static int open_regular(int directory, const char *name, struct stat *st) {
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return -1;
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode)) return fd;
    close(fd);
    errno = ESTALE; /* it has been replaced meanwhile */
    return -1;
}

static ssize_t read_full(int fd, char *out, size_t size) {
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, out + len, size - len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Have both files the same bytes? Not when one cannot be read. */
static bool same_bytes(int a, int b) {
    char x[CHUNK], y[CHUNK];
    for (;;) {
        ssize_t n = read_full(a, x, sizeof x);
        if (n < 0 || read_full(b, y, sizeof y) != n || memcmp(x, y, (size_t)n) != 0) return false;
        if (n == 0) return true;
    }
}

static bool same_traits(const struct stat *a, const struct stat *b) {
    bool same_owner = a->st_uid == b->st_uid && a->st_gid == b->st_gid;
    return (a->st_mode & 0777) == (b->st_mode & 0777) && (same_owner || !gives_owners()) &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Is the file there as it should be? Then its mode and time are set right, where they are not. */
static bool is_same(const struct pair *pair, const char *name, int from, const struct stat *st) {
    struct stat now;
    int to = open_regular(pair->to, name, &now);
    if (to < 0) return false;
    bool same = now.st_size == st->st_size && same_bytes(from, to);
    if (same && !same_traits(st, &now) && copy_traits(st, to) != 0) same = false;
    close(to);
    return same;
}

static int copy_file(const struct copy *c, const struct pair *pair, const char *name) {
    struct stat st;
    int from = open_regular(pair->from, name, &st);
    if (from < 0) return errno == ENOENT ? 0 : errno; /* vanished: as if it had never been */
    if (c->is_restore && is_same(pair, name, from, &st)) {
        close(from);
        return 0;
    }
    int error = lseek(from, 0, SEEK_SET) < 0 ? errno : 0;
    const char *temp = c->is_restore ? TEMP_NAME : name;
    if (c->is_restore) (void)unlinkat(pair->to, temp, 0);
    int to = openat(pair->to, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0) error = errno;
    if (!error) error = copy_bytes(from, to);
    if (!error) error = copy_traits(&st, to);
    if (to >= 0 && close(to) != 0 && !error) error = errno;
    if (!error && c->is_restore && renameat(pair->to, temp, pair->to, name) != 0) error = errno;
    if (error && to >= 0) (void)unlinkat(pair->to, temp, 0);
    close(from);
    return error;
}

static int copy_link(const struct pair *pair, const char *name, const struct stat *st) {
    char target[PATH_MAX], now[PATH_MAX];
    ssize_t n = readlinkat(pair->from, name, target, sizeof target - 1);
    if (n < 0) return errno == ENOENT ? 0 : errno;
    target[n] = '\0';
    ssize_t len = readlinkat(pair->to, name, now, sizeof now);
    if (len == n && memcmp(now, target, (size_t)n) == 0) return 0;
    if (len >= 0 && unlinkat(pair->to, name, 0) != 0) return errno;
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (symlinkat(target, pair->to, name) != 0) return errno;
    if (utimensat(pair->to, name, times, AT_SYMLINK_NOFOLLOW) != 0) return errno;
    if (!gives_owners()) return 0;
    return fchownat(pair->to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

/* ---- directories ---------------------------------------------------------------------------- */

/* A directory stays open to its owner, or what is in it could not be copied. */
static int copy_directory(struct copy *c, const struct pair *pair, const char *name,
                          const struct stat *st) {
    size_t size = strlen(pair->path) + strlen(name) + 2;
    struct todo *todo = malloc(sizeof *todo + size);
    if (!todo) return ENOMEM;
    snprintf(todo->path, size, "%s%s%s", pair->path, pair->path[0] ? "/" : "", name);
    todo->next = c->todo;
    c->todo = todo;
    if (mkdirat(pair->to, name, 0700) != 0 && errno != EEXIST) return errno;
    int fd = openat(pair->to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    struct stat open = *st;
    open.st_mode |= 0700;
    int error = copy_traits(&open, fd);
    close(fd);
    return error;
}

static bool is_except(const struct copy *c, const struct stat *st) {
    return st->st_dev == c->except->st_dev && st->st_ino == c->except->st_ino;
}

static int copy_entry(struct copy *c, const struct pair *pair, const char *name) {
    struct stat st;
    if (++c->count > COPY_MAX) return E2BIG;
    if (fstatat(pair->from, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : errno;
    if (is_except(c, &st)) return 0;
    if (S_ISREG(st.st_mode)) return copy_file(c, pair, name);
    if (S_ISDIR(st.st_mode)) return copy_directory(c, pair, name, &st);
    if (S_ISLNK(st.st_mode)) return copy_link(pair, name, &st);
    return 0;
}

static bool is_special(mode_t mode) {
    return !S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode);
}

/* Removes what has no counterpart. */
static int prune_entry(struct copy *c, const struct pair *pair, const char *name) {
    struct stat from, to;
    if (fstatat(pair->to, name, &to, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT ? 0 : errno;
    if (is_except(c, &to)) return 0;
    bool there = fstatat(pair->from, name, &from, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT) return errno;
    if (there ? (from.st_mode & S_IFMT) == (to.st_mode & S_IFMT) : is_special(to.st_mode)) return 0;
    return remove_tree(pair->to, name, false);
}

typedef int (*entry_fn)(struct copy *c, const struct pair *pair, const char *name);

static int each_entry(struct copy *c, const struct pair *pair, int directory, entry_fn fn) {
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        error = errno;
        if (fd >= 0) close(fd);
        return error;
    }
    while (!error) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            error = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            error = fn(c, pair, entry->d_name);
    }
    closedir(dir);
    return error;
}

static int do_directory(struct copy *c, const char *path) {
    struct pair pair = {.path = path};
    const char *beneath = path[0] ? path : ".";
    pair.from = directory_openat(c->from, beneath, O_RDONLY | O_DIRECTORY, 0);
    if (pair.from < 0) return errno == ENOENT ? 0 : errno;
    pair.to = directory_openat(c->to, beneath, O_RDONLY | O_DIRECTORY, 0);
    int error = pair.to < 0 ? errno : 0;
    if (!error && c->is_restore) error = each_entry(c, &pair, pair.to, prune_entry);
    if (!error) error = each_entry(c, &pair, pair.from, copy_entry);
    if (pair.to >= 0) close(pair.to);
    close(pair.from);
    return error;
}

static int run(struct copy *c) {
    int error = do_directory(c, "");
    while (c->todo) {
        struct todo *todo = c->todo;
        c->todo = todo->next;
        if (!error) error = do_directory(c, todo->path);
        free(todo);
    }
    return error;
}

int copy_tree(int from, int to, const struct stat *except) {
    struct copy c = {.from = from, .to = to, .except = except};
    return run(&c);
}

int copy_restore(int from, int to, const struct stat *except) {
    struct copy c = {.from = from, .to = to, .is_restore = true, .except = except};
    return run(&c);
}
