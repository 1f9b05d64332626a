/* files_directory_remove.c - a few directories are open at a time. What lies deeper than that is
 * first moved up to the top, where its turn comes: so neither the depth of a tree nor the length
 * of its paths matter. */
#include "files_directory_remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each pass takes LEVELS of a deep tree; of another one the first takes all, unless others add to it. */
enum { LEVELS = 32, NAME_SIZE = 256, DEEP_PASSES = 10000, RACED_PASSES = 100 };

struct level {
    DIR *dir;
    char name[NAME_SIZE]; /* in the level above */
};

struct removal {
    int parent;
    bool force;
    int failed;     /* the first errno */
    unsigned moved; /* for names of what was moved up */
    size_t removed; /* entries: a pass that removes none is the last */
    size_t depth;
    struct level levels[LEVELS];
};

static void note(struct removal *r, int error) {
    if (!r->failed) r->failed = error;
}

/* Lets us into a directory of our own that others have made inaccessible. */
static int open_closed(int parent, const char *name) {
    char path[64];
    int handle = openat(parent, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", handle);
    int rc = chmod(path, 0700), error = errno;
    close(handle);
    errno = error;
    return rc == 0 ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
}

/* Goes into a directory: 0 or an errno. What has become a link meanwhile is ENOTDIR. */
static int enter(struct removal *r, int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && r->force) fd = open_closed(parent, name);
    if (fd < 0) return errno;
    struct stat st;
    if (r->force && fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700) (void)fchmod(fd, 0700);
    struct level *level = &r->levels[r->depth];
    level->dir = fdopendir(fd);
    if (!level->dir) {
        int error = errno;
        close(fd);
        return error;
    }
    snprintf(level->name, sizeof level->name, "%s", name);
    r->depth++;
    return 0;
}

/* A directory below the deepest level goes to the top. */
static int move_up(struct removal *r, int fd, const char *name) {
    char moved[NAME_SIZE];
    int top = dirfd(r->levels[0].dir);
    for (int i = 0; i < 1000; i++) {
        snprintf(moved, sizeof moved, ".removed-%u", r->moved++);
        if (renameat2(fd, name, top, moved, 1 /* RENAME_NOREPLACE */) == 0) return 0;
        if (errno != EEXIST) return errno;
    }
    return EEXIST;
}

/* One entry of the deepest level. */
static void remove_entry(struct removal *r, const char *name) {
    int fd = dirfd(r->levels[r->depth - 1].dir), error;
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT) {
        r->removed++;
        return;
    }
    error = errno;
    if (error == EISDIR || error == EPERM) { /* POSIX says EPERM for a directory */
        int into = r->depth < LEVELS ? enter(r, fd, name) : move_up(r, fd, name);
        if (into == 0) return;
        if (into != ENOTDIR) error = into;
    }
    note(r, error);
}

/* The deepest level has been read to its end. */
static void leave(struct removal *r) {
    struct level *level = &r->levels[--r->depth];
    int above = r->depth ? dirfd(r->levels[r->depth - 1].dir) : r->parent;
    closedir(level->dir);
    if (unlinkat(above, level->name, AT_REMOVEDIR) == 0 || errno == ENOENT) r->removed++;
    else if (errno != ENOTEMPTY && errno != EEXIST) note(r, errno);
}

/* Once over the whole tree. */
static void pass(struct removal *r, const char *name) {
    int error = enter(r, r->parent, name);
    if (error && error != ENOENT) note(r, error);
    while (r->depth) {
        errno = 0;
        const struct dirent *entry = readdir(r->levels[r->depth - 1].dir);
        if (!entry) {
            if (errno) note(r, errno);
            leave(r);
        } else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            remove_entry(r, entry->d_name);
        }
    }
}

int remove_tree(int parent, const char *name, bool force) {
    struct removal r = {.parent = parent, .force = force};
    struct stat st;
    int passes = 0, raced = 0;
    if (unlinkat(parent, name, 0) == 0) return 0;
    if (errno != EISDIR && errno != EPERM) return errno;
    for (;;) {
        size_t before = r.removed;
        unsigned moved = r.moved;
        r.failed = 0;
        pass(&r, name);
        if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return errno == ENOENT ? 0 : errno;
        if (r.moved == moved) raced++;
        bool ends = r.removed == before || raced == RACED_PASSES || ++passes == DEEP_PASSES;
        if (!S_ISDIR(st.st_mode)) return unlinkat(parent, name, 0) == 0 ? 0 : errno;
        if (ends) return r.failed ? r.failed : ENOTEMPTY;
    }
}
