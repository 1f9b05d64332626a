/* files_directory_private.c - the lock is a file beside the directory, made and locked before it,
 * and removed after it: so there is never a directory without one, and whoever gets the lock owns
 * what it is of. */
#include "files_directory_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files_directory_remove.h"

#define LOCK_SUFFIX ".lock"

enum { TRIES = 16 };

void private_init(struct private_dir *p) {
    *p = (struct private_dir){.home = -1, .lock = -1, .session = -1, .tree = -1};
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* ---- the home of all sessions of a user ----------------------------------------------------- */

void private_home_name(char name[PRIVATE_HOME_SIZE]) {
    snprintf(name, PRIVATE_HOME_SIZE, "harness-lua-%lu", (unsigned long)geteuid());
}

/* Opens BASE/harness-lua-UID, which is made with `make`. It must be ours: /tmp is everybody's. */
static int open_home(const char *base, bool make, char *why, size_t size) {
    char name[PRIVATE_HOME_SIZE];
    struct stat st;
    private_home_name(name);
    int dir = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        snprintf(why, size, "the directory for private files, %.200s, cannot be opened: %s", base,
                 strerror(errno));
        return -1;
    }
    int made = make ? mkdirat(dir, name, 0711) : -1;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), error = errno;
    close(dir);
    if (fd < 0) {
        snprintf(why, size, "%.200s/%s cannot be made or opened: %s", base, name, strerror(error));
        errno = error;
        return -1;
    }
    if (made == 0) (void)fchmod(fd, 0711); /* whatever the umask is */
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 022) == 0) return fd;
    snprintf(why, size,
             "%.200s/%s is not ours alone (owner %lu, mode %03o): remove it, or set TMPDIR to a "
             "directory of your own",
             base, name, (unsigned long)st.st_uid, (unsigned)st.st_mode & 0777);
    close(fd);
    errno = EPERM;
    return -1;
}

/* ---- one session ---------------------------------------------------------------------------- */

static int random_id(char id[PRIVATE_ID_SIZE]) {
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return errno ? errno : EIO;
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* A new lock of ours: its descriptor, or -1. A sweep that sees the file before it is locked takes
 * it away: then another one. */
static int new_lock(int home, char id[PRIVATE_ID_SIZE]) {
    char name[PRIVATE_ID_SIZE + 8];
    struct stat st;
    for (int i = 0; i < TRIES; i++) {
        if (random_id(id) != 0) return -1;
        snprintf(name, sizeof name, "%s" LOCK_SUFFIX, id);
        int fd = openat(home, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0) return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0) return fd;
        close(fd);
    }
    errno = EBUSY;
    return -1;
}

static int give(int fd, const struct private_owner *owner) {
    return owner->given ? fchown(fd, owner->uid, owner->gid) : 0;
}

/* A directory of the owner's, mode 0700: its descriptor, or -1. */
static int new_directory(int parent, const char *name, const struct private_owner *owner) {
    if (mkdirat(parent, name, 0700) != 0) return -1;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fchmod(fd, 0700) == 0 && give(fd, owner) == 0) return fd;
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return -1;
}

int private_make(struct private_dir *p, const char *base, const struct private_owner *owner,
                 char *why, size_t size) {
    p->home = open_home(base, true, why, size);
    if (p->home < 0) return errno ? errno : EIO;
    p->lock = new_lock(p->home, p->id);
    if (p->lock >= 0) p->session = new_directory(p->home, p->id, owner);
    if (p->session >= 0) p->tree = new_directory(p->session, "tree", owner);
    size_t path_size = strlen(base) + sizeof p->id + 64;
    if (p->tree >= 0) {
        p->path = malloc(path_size);
        errno = ENOMEM; /* unless there is a path */
    }
    if (p->path) {
        snprintf(p->path, path_size, "%s/harness-lua-%lu/%s/tree", base, (unsigned long)geteuid(),
                 p->id);
        return 0;
    }
    int error = errno ? errno : ENOMEM;
    snprintf(why, size, "a private directory cannot be made in %.200s: %s", base, strerror(error));
    private_free(p);
    return error;
}

static void remove_session(int home, const char *id) {
    char name[PRIVATE_ID_SIZE + 8];
    snprintf(name, sizeof name, "%s" LOCK_SUFFIX, id);
    int error = remove_tree(home, id, true);
    if (error == 0 || error == ENOENT) (void)unlinkat(home, name, 0);
}

void private_free(struct private_dir *p) {
    close_fd(&p->tree);
    close_fd(&p->session);
    if (p->lock >= 0) remove_session(p->home, p->id);
    close_fd(&p->lock);
    close_fd(&p->home);
    free(p->path);
    private_init(p);
}

/* ---- what others left ----------------------------------------------------------------------- */

static void sweep_one(int home, const char *lock_name, size_t len) {
    char id[PRIVATE_ID_SIZE];
    struct stat st;
    if (len - strlen(LOCK_SUFFIX) >= sizeof id) return;
    memcpy(id, lock_name, len - strlen(LOCK_SUFFIX));
    id[len - strlen(LOCK_SUFFIX)] = '\0';
    int fd = openat(home, lock_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0)
        remove_session(home, id);
    close(fd);
}

void private_sweep(const char *base) {
    char why[8];
    int home = open_home(base, false, why, sizeof why);
    if (home < 0) return;
    DIR *dir = fdopendir(home);
    if (!dir) {
        close(home);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name), suffix = strlen(LOCK_SUFFIX);
        if (len > suffix && strcmp(entry->d_name + len - suffix, LOCK_SUFFIX) == 0)
            sweep_one(home, entry->d_name, len);
    }
    closedir(dir);
}
