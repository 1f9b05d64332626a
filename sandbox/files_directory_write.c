/* files_directory_write.c - files are replaced by renaming, so a full disk or a killed engine
 * leaves the old content, and who reads meanwhile sees the old or the new. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files_directory_impl.h"
#include "files_directory_remove.h"

enum { TEMP_SIZE = 64, TRIES = 16 };

static int write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t written = write(fd, bytes, n < (1 << 30) ? n : (1 << 30));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return errno;
        if (written == 0) return ENOSPC;
        bytes += written;
        n -= (size_t)written;
    }
    return 0;
}

/* A new file beside the one to be written, which nobody else can read before it has the mode of
 * that one: its descriptor, or -1. */
static int new_temp(struct directory_files *d, const struct parent *at, char temp[TEMP_SIZE]) {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    for (int i = 0; i < TRIES; i++) {
        snprintf(temp, TEMP_SIZE, ".harness-lua-%ld-%u.tmp", (long)getpid(), d->serial++);
        int fd = openat(at->fd, temp, flags, at->exists ? 0600 : 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

/* The new file gets the mode of the old one, and its owner where we may: an editor does not take a
 * user's file away from them. */
static int keep_traits(int fd, const struct parent *at) {
    if (!at->exists) return 0;
    struct stat own;
    if (fstat(fd, &own) != 0) return errno;
    bool other = own.st_uid != at->st.st_uid || own.st_gid != at->st.st_gid;
    if (other && fchown(fd, at->st.st_uid, at->st.st_gid) != 0 && errno != EPERM) return errno;
    return fchmod(fd, at->st.st_mode & 0777) == 0 ? 0 : errno;
}

static int write_temp(struct directory_files *d, const struct parent *at, const char *bytes,
                      size_t n, char temp[TEMP_SIZE]) {
    int fd = new_temp(d, at, temp);
    if (fd < 0) return errno;
    int error = write_all(fd, bytes, n);
    if (!error) error = keep_traits(fd, at);
    if (close(fd) != 0 && !error) error = errno; /* some file systems tell only now */
    if (!error && renameat(at->fd, temp, at->fd, at->name) != 0) error = errno;
    if (error) (void)unlinkat(at->fd, temp, 0);
    return error;
}

static enum files_error check_quota(struct directory_files *d, uint64_t removed, uint64_t added) {
    uint64_t used;
    if (!d->quota_bytes) return FILES_OK;
    if (!d->is_measured) {
        enum files_error rc = files_directory_measure(&d->base, &used);
        if (!d->is_measured) return rc; /* else what is there already may be too much */
    }
    uint64_t after = d->used_bytes - (removed < d->used_bytes ? removed : d->used_bytes) + added;
    if (after <= d->quota_bytes || added <= removed) return FILES_OK;
    return files_fail(&d->base, FILES_EQUOTA,
                      "does not fit: the files of the sandbox would have %llu bytes, more than its "
                      "quota of %llu",
                      (unsigned long long)after, (unsigned long long)d->quota_bytes);
}

static enum files_error write_at(struct directory_files *d, const struct parent *at,
                                 const char *bytes, size_t n) {
    char temp[TEMP_SIZE];
    if (at->exists && S_ISDIR(at->st.st_mode)) return FILES_EISDIR;
    if (at->exists && !S_ISREG(at->st.st_mode)) return FILES_ESPECIAL;
    uint64_t old = at->exists ? (uint64_t)at->st.st_size : 0;
    enum files_error rc = check_quota(d, old, n);
    if (rc != FILES_OK) return rc;
    int error = write_temp(d, at, bytes, n, temp);
    if (error) return directory_errno(d, error, "cannot be written");
    d->used_bytes = d->used_bytes - (old < d->used_bytes ? old : d->used_bytes) + n;
    return FILES_OK;
}

enum files_error directory_write(struct files *f, const char *path, size_t len, const char *bytes,
                                 size_t n) {
    struct directory_files *d = directory_of(f);
    struct place place;
    struct parent at;
    place_set(&place, path, len);
    if (len == strlen("/workspace") && memcmp(path, "/workspace", len) == 0) return FILES_EISDIR;
    enum files_error rc = directory_parent(d, &place, false, true, &at);
    if (rc == FILES_ENOENT) { /* nothing is made for what does not fit */
        rc = check_quota(d, 0, n);
        if (rc == FILES_OK) rc = directory_parent(d, &place, true, true, &at);
    }
    if (rc != FILES_OK) return rc;
    rc = write_at(d, &at, bytes, n);
    close(at.fd);
    return rc;
}

enum files_error directory_make_directory(struct files *f, const char *path, size_t len) {
    struct directory_files *d = directory_of(f);
    struct place place;
    struct parent at;
    struct files_stat stat;
    enum files_error rc = directory_stat(f, path, len, &stat);
    if (rc == FILES_OK) return stat.kind == FILES_DIRECTORY ? FILES_OK : FILES_ENOTDIR;
    if (rc != FILES_ENOENT) return rc;
    if (len + 2 > PATH_BYTES_MAX)
        return files_fail(f, FILES_EPATH, "%s", path_error_text(PATH_ELONG));
    place_set(&place, path, len);
    memcpy(place.path + len, "/x", 3); /* a name in it, so that it is made */
    place.len += 2;
    rc = directory_parent(d, &place, true, false, &at);
    if (rc == FILES_OK) close(at.fd);
    return rc;
}

static int remove_at(const struct parent *at, bool recursive) {
    if (!S_ISDIR(at->st.st_mode)) return unlinkat(at->fd, at->name, 0) == 0 ? 0 : errno;
    if (recursive) return remove_tree(at->fd, at->name, false);
    return unlinkat(at->fd, at->name, AT_REMOVEDIR) == 0 ? 0 : errno;
}

enum files_error directory_remove(struct files *f, const char *path, size_t len, bool recursive) {
    struct directory_files *d = directory_of(f);
    struct place place;
    struct parent at;
    place_set(&place, path, len);
    enum files_error rc = directory_parent(d, &place, false, false, &at);
    if (rc != FILES_OK) return rc;
    bool is_workspace =
        place.len == strlen("/workspace") && memcmp(place.path, "/workspace", place.len) == 0;
    if (is_workspace) rc = FILES_EBUSY;
    else if (f->hidden && path_within(f->hidden, strlen(f->hidden), place.path, place.len))
        rc = files_fail(f, FILES_EBUSY, "cannot be removed: sandboxes keep their own files in it");
    else if (files_holds_read_only(f, place.path, place.len)) rc = FILES_EREADONLY;
    else if (!at.exists) rc = FILES_ENOENT;
    int error = rc == FILES_OK ? remove_at(&at, recursive) : 0;
    close(at.fd);
    if (rc != FILES_OK) return rc;
    if (error) return directory_errno(d, error, "cannot be removed");
    if (S_ISREG(at.st.st_mode) && (uint64_t)at.st.st_size <= d->used_bytes)
        d->used_bytes -= (uint64_t)at.st.st_size;
    else d->is_measured = false;
    return FILES_OK;
}
