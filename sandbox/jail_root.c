/* jail_root.c - every access is relative to the descriptor of one of both directories and follows no link below: in the
 * tree file calls may have been before. No command ever gets either directory itself to write to. */
#include "jail_root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct root {
    int fd;
    uid_t uid;
    gid_t gid;
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

enum { COPIED_MAX = 1 << 20, LINK_MAX_SIZE = 256 };

/* Places of mounts, and directories that are empty. */
static const char *const PLACES[] = {"usr", "proc", "dev", "sys", "run", "var", "etc"};
/* Directories of the host's /etc that programs need and that hold no secrets; bwrap.lua binds them. */
static const char *const PUBLIC[] = {"alternatives", "fonts", "java-*"};
/* In the tree, of the user, mode 0700. */
static const char *const OWN[] = {"tmp", "home", "home/user", "workspace"};
/* The parts of the system that are links on most machines and directories on some. */
static const char *const LIBRARIES[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};
/* What programs look up and nobody minds being read. */
static const char *const COPIED[] = {"ld.so.cache", "localtime",  "timezone",  "protocols",
                                     "services",    "mime.types", "host.conf", "debian_version",
                                     "shells",      "inputrc",    "magic",     "magic.mime",
                                     "locale.alias"};

static const struct {
    const char *name, *text;
} WRITTEN[] = {
    {"etc/passwd", "root:x:0:0:root:/:/usr/sbin/nologin\n"
                   "user:x:1000:1000:user:/home/user:/bin/bash\n"
                   "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"},
    {"etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"},
    {"etc/nsswitch.conf",
     "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n"},
    {"etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"},
    {"etc/hostname", "sandbox\n"},
};

static const struct {
    const char *name, *target;
} LINKS[] = {
    {"var/tmp", "../tmp"},
    {"etc/os-release", "../usr/lib/os-release"},
    {"etc/mtab", "../proc/self/mounts"},
};

static int make_directory(const struct root *root, const char *name, mode_t mode, bool own) {
    if (mkdirat(root->fd, name, mode) != 0) {
        struct stat st;
        if (errno != EEXIST) return errno;
        if (fstatat(root->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
        return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
    }
    /* By a descriptor: commands that run may have put a link in its place by now. */
    int fd = openat(root->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = fchmod(fd, mode) == 0 ? 0 : errno;
    if (!error && own && root->uid != (uid_t)-1 && fchown(fd, root->uid, root->gid) != 0)
        error = errno;
    close(fd);
    return error;
}

static int make_link(const struct root *root, const char *target, const char *name) {
    return symlinkat(target, root->fd, name) == 0 || errno == EEXIST ? 0 : errno;
}

static int write_file(const struct root *root, const char *name, const char *bytes, size_t len) {
    int fd = openat(root->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return errno;
    int error = 0;
    while (len && !error) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0) error = errno == EINTR ? 0 : errno;
        else bytes += n, len -= (size_t)n;
    }
    if (!error && fchmod(fd, 0644) != 0) error = errno;
    return close(fd) == 0 || error ? error : errno;
}

/* A file of the host's /etc, if there is one that is not too large. */
static int copy_file(const struct root *root, const char *name) {
    char from[64], to[64], bytes[16 << 10];
    snprintf(from, sizeof from, "/etc/%s", name);
    snprintf(to, sizeof to, "etc/%s", name);
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = 0;
    struct stat st;
    if (in < 0) return 0;
    if (fstat(in, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > COPIED_MAX) {
        close(in);
        return 0;
    }
    int out = openat(root->fd, to, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (out < 0) error = errno;
    for (ssize_t n; !error && (n = read(in, bytes, sizeof bytes)) != 0;)
        if (n < 0 || write(out, bytes, (size_t)n) != n) error = n < 0 ? errno : ENOSPC;
    close(in);
    if (out >= 0 && close(out) != 0 && !error) error = errno;
    return error;
}

/* As the host has it: the same link, or the place of a mount. */
static int make_library(const struct root *root, const char *name) {
    char path[64], target[LINK_MAX_SIZE];
    struct stat st;
    snprintf(path, sizeof path, "/%s", name);
    if (lstat(path, &st) != 0) return 0;
    if (!S_ISLNK(st.st_mode)) return make_directory(root, name, 0755, false);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0) return errno;
    target[n] = '\0';
    return make_link(root, target, name);
}

/* Places for what is PUBLIC of the host's /etc. */
static int make_public(const struct root *root, const char **what) {
    DIR *etc = opendir("/etc");
    if (!etc) return 0;
    int error = 0;
    const struct dirent *entry;
    while (!error && (entry = readdir(etc)) != NULL) {
        char path[sizeof entry->d_name + sizeof "etc/"];
        for (size_t i = 0; !error && i < COUNT(PUBLIC); i++) {
            if (fnmatch(PUBLIC[i], entry->d_name, 0) != 0) continue;
            snprintf(path, sizeof path, "etc/%s", entry->d_name);
            error = make_directory(root, path, 0755, false);
        }
    }
    *what = "etc";
    closedir(etc);
    return error;
}

/* What is in the root. *what is where it has failed. */
static int fill_root(const struct root *root, const char **what) {
    int error = 0;
    for (size_t i = 0; !error && i < COUNT(PLACES); i++)
        error = make_directory(root, *what = PLACES[i], 0755, false);
    for (size_t i = 0; !error && i < COUNT(LIBRARIES); i++)
        error = make_library(root, *what = LIBRARIES[i]);
    for (size_t i = 0; !error && i < COUNT(COPIED); i++) error = copy_file(root, *what = COPIED[i]);
    for (size_t i = 0; !error && i < COUNT(WRITTEN); i++)
        error = write_file(root, *what = WRITTEN[i].name, WRITTEN[i].text, strlen(WRITTEN[i].text));
    for (size_t i = 0; !error && i < COUNT(LINKS); i++)
        error = make_link(root, LINKS[i].target, *what = LINKS[i].name);
    if (!error) error = make_public(root, what);
    return error;
}

static int fill_tree(const struct root *tree, const char **what) {
    int error = 0;
    for (size_t i = 0; !error && i < COUNT(OWN); i++)
        error = make_directory(tree, *what = OWN[i], 0700, true);
    return error;
}

static int open_directory(const char *path, struct root *out) {
    out->fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return out->fd >= 0 ? 0 : errno;
}

static int fill(const char *path, uid_t uid, gid_t gid, const char **what,
                int (*with)(const struct root *, const char **)) {
    struct root root = {.uid = uid, .gid = gid};
    int error = open_directory(path, &root);
    if (error) return error;
    error = with(&root, what);
    close(root.fd);
    return error;
}

static int told(int error, const char *what, char why[JAIL_WHY_SIZE]) {
    if (error)
        snprintf(why, JAIL_WHY_SIZE, "the sandbox cannot be made ready for commands: %s: %s", what,
                 strerror(error));
    return error;
}

int jail_root_make(const char *root, uid_t uid, gid_t gid, char why[JAIL_WHY_SIZE]) {
    const char *what = "its directory";
    /* It is there when an earlier attempt came no further. */
    bool made = mkdir(root, 0755) == 0 || errno == EEXIST;
    int error = made && chmod(root, 0755) == 0 ? 0 : errno;
    if (!error && uid != (uid_t)-1 && chown(root, uid, gid) != 0) error = errno;
    if (!error) error = fill(root, uid, gid, &what, fill_root);
    return told(error, what, why);
}

int jail_root_fill_tree(const char *tree, uid_t uid, gid_t gid, char why[JAIL_WHY_SIZE]) {
    const char *what = "its tree";
    int error = fill(tree, uid, gid, &what, fill_tree);
    return told(error, what, why);
}

/* A place of the kind that is wanted; one of another kind goes. */
static int make_place(const struct root *root, const char *name, bool is_directory) {
    struct stat st;
    if (fstatat(root->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(st.st_mode) == is_directory) return 0;
        if (unlinkat(root->fd, name, is_directory ? 0 : AT_REMOVEDIR) != 0) return errno;
    }
    if (is_directory) return mkdirat(root->fd, name, 0755) == 0 ? 0 : errno;
    return write_file(root, name, "", 0);
}

int jail_root_place(const char *root, const char *tree, const char *name) {
    struct root at, from;
    struct stat st;
    int error = open_directory(root, &at);
    if (error) return error;
    error = open_directory(tree, &from);
    if (!error) {
        if (fstatat(from.fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) error = errno;
        else error = make_place(&at, name, S_ISDIR(st.st_mode));
        close(from.fd);
    }
    close(at.fd);
    return error;
}
