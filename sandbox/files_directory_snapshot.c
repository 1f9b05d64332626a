/* files_directory_snapshot.c - a snapshot is a copy beside the private tree:
 *
 *     ID/snapshot-1/tree         of the private tree
 *     ID/snapshot-1/workspace    of the given root, if there is one
 *
 * It goes with the session at the latest. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "files_directory_copy.h"
#include "files_directory_impl.h"
#include "files_directory_remove.h"

enum { NAME_SIZE = 32 };

struct directory_snapshot {
    struct files_snapshot base;
    struct directory_files *owner; /* NULL: closed, and so the copy is gone */
    struct directory_snapshot *next;
    char name[NAME_SIZE];
};

static void snapshot_free(struct files_snapshot *snapshot) {
    struct directory_snapshot *own = (struct directory_snapshot *)snapshot;
    if (own->owner) {
        struct directory_snapshot **link = &own->owner->snapshots;
        while (*link != own) link = &(*link)->next;
        *link = own->next;
        (void)remove_tree(own->owner->private.session, own->name, true); /* else at the close */
    }
    free(own);
}

void directory_forget_snapshots(struct directory_files *d) {
    for (struct directory_snapshot *s = d->snapshots; s; s = s->next) s->owner = NULL;
    d->snapshots = NULL;
}

static int make_open(int parent, const char *name) {
    if (mkdirat(parent, name, 0700) != 0) return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Copies a tree into a new directory of that name, without the private directories that may be
 * in it. 0 or an errno. */
static int copy_into(const struct directory_files *d, int snapshot, const char *name, int tree) {
    struct stat home;
    int to = fstat(d->private.home, &home) == 0 ? make_open(snapshot, name) : -1;
    if (to < 0) return errno;
    int error = copy_tree(tree, to, &home);
    close(to);
    return error;
}

static enum files_error copy_failed(struct directory_files *d, int error, const char *what) {
    if (error == E2BIG)
        return files_fail(&d->base, FILES_ETOOBIG,
                          "has more than the %d files and directories that a snapshot may have",
                          COPY_MAX);
    enum files_error rc = directory_errno(d, error, what);
    return rc == FILES_ENOSPC ? files_fail(&d->base, rc, "%s: the disk is full", what) : rc;
}

enum files_error directory_snapshot(struct files *f, struct files_snapshot **out) {
    struct directory_files *d = directory_of(f);
    enum files_error rc = directory_make_private(d);
    if (rc != FILES_OK) return rc;
    struct directory_snapshot *own = calloc(1, sizeof *own);
    if (!own) return FILES_ENOMEM;
    own->base.free = snapshot_free;
    snprintf(own->name, sizeof own->name, "snapshot-%u", d->serial++);
    int copy = make_open(d->private.session, own->name), error = copy < 0 ? errno : 0;
    if (!error) error = copy_into(d, copy, "tree", d->private.tree);
    if (!error && d->workspace >= 0) error = copy_into(d, copy, "workspace", d->workspace);
    if (copy >= 0) close(copy);
    if (error) {
        (void)remove_tree(d->private.session, own->name, true); /* else at the close */
        free(own);
        return copy_failed(d, error, "cannot be copied");
    }
    own->owner = d;
    own->next = d->snapshots;
    d->snapshots = own;
    *out = &own->base;
    return FILES_OK;
}

static int restore_from(const struct directory_files *d, int snapshot, const char *name, int tree) {
    struct stat home;
    if (fstat(d->private.home, &home) != 0) return errno;
    int from = openat(snapshot, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0) return errno;
    int error = copy_restore(from, tree, &home);
    close(from);
    return error;
}

enum files_error directory_restore(struct files *f, struct files_snapshot *snapshot) {
    struct directory_files *d = directory_of(f);
    struct directory_snapshot *own = (struct directory_snapshot *)snapshot;
    if (snapshot->free != snapshot_free || own->owner != d) return FILES_ESNAPSHOT;
    d->is_measured = false;
    int copy =
        openat(d->private.session, own->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = copy < 0 ? errno : restore_from(d, copy, "tree", d->private.tree);
    if (!error && d->workspace >= 0) error = restore_from(d, copy, "workspace", d->workspace);
    if (copy >= 0) close(copy);
    return error ? copy_failed(d, error, "has been restored in part only") : FILES_OK;
}
