/* files_directory_impl.h - what the files_directory*.c files share. Nobody else includes it. */
#ifndef HARNESS_SANDBOX_FILES_DIRECTORY_IMPL_H
#define HARNESS_SANDBOX_FILES_DIRECTORY_IMPL_H

#include <sys/stat.h>

#include "files_directory.h"
#include "files_directory_private.h"

/* A path of the tree. */
struct place {
    size_t len;
    char path[PATH_BYTES_MAX + 1];
};

struct directory_files {
    struct files base;
    int workspace; /* O_PATH, of the given root; -1: /workspace is in the private directory */
    char *workspace_path; /* NULL: likewise */
    char *private_base;   /* where the private directory is made */
    char *hidden;         /* where it is in the tree, if it is: base.hidden */
    struct private_dir private;
    struct private_owner owner;
    gid_t *groups; /* that we are in besides, while the calls are not the owner's */
    int group_count;
    uint64_t quota_bytes, used_bytes;
    bool is_measured;
    struct buf scratch; /* what was read last */
    bool in_batch;      /* then the directory of the last file is kept open: */
    int near;           /* -1: none */
    struct place near_path;
    unsigned serial; /* for temporary names and snapshots */
    struct directory_snapshot *snapshots;
};

static inline struct directory_files *directory_of(struct files *f) {
    return (struct directory_files *)f;
}

void place_set(struct place *place, const char *path, size_t len);

/* What errno means, with the path's own words for what has none. */
enum files_error directory_errno(struct directory_files *d, int error, const char *what);

/* Makes the private directory unless it is there. */
enum files_error directory_make_private(struct directory_files *d);

/* Where a path is on the host: a root's descriptor (-1: not made yet) and the path beneath it,
 * which points into `path` or is ".". */
int directory_where(const struct directory_files *d, const char *path, size_t len,
                    const char **beneath);

/* openat2 beneath a root, which follows no links. */
int directory_openat(int root, const char *beneath, int flags, mode_t mode);

/* Opens what is at the place, following links; the place becomes where it really is. */
enum files_error directory_open(struct directory_files *d, struct place *place, int flags, int *fd);

/* Follows the links of a path hop by hop. The names behind the last one that exists stay as they
 * are. */
enum files_error directory_resolve(struct directory_files *d, struct place *place);

/* Opens the directory that the last name of a place is in, made if it is missing and `make` is set.
 * With `follow` a link at the place is followed first, so that it is none afterwards. st: what is
 * there; *exists. The place becomes the real one, whose last name is at path_name_at. */
struct parent {
    int fd;
    const char *name; /* in the place */
    bool exists;
    struct stat st;
};
enum files_error directory_parent(struct directory_files *d, struct place *place, bool make,
                                  bool follow, struct parent *out);

/* The operations of other files. */
enum files_error directory_list(struct files *f, const char *path, size_t len,
                                struct files_list *list);
enum files_error directory_write(struct files *f, const char *path, size_t len, const char *bytes,
                                 size_t n);
enum files_error directory_remove(struct files *f, const char *path, size_t len, bool recursive);
enum files_error directory_make_directory(struct files *f, const char *path, size_t len);
enum files_error directory_stat(struct files *f, const char *path, size_t len,
                                struct files_stat *out);
enum files_error directory_snapshot(struct files *f, struct files_snapshot **out);
/* What is closed takes its snapshots along. */
void directory_forget_snapshots(struct directory_files *d);
enum files_error directory_restore(struct files *f, struct files_snapshot *snapshot);

#endif
