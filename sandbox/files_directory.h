/* files_directory.h - a tree of files on the disk of the host: /workspace is a given directory,
 * everything else is in a private directory of the session.
 *
 *     struct files_directory_options options = {.root = "/home/me/project", .base = "/tmp"};
 *     char why[FILES_DETAIL_SIZE];
 *     enum files_error rc = files_directory_new(&options, &f, why);
 *     ...                                       // files.h
 *     files_free(f);                            // removes the private directory
 *
 * Every access is made by the kernel beneath the root it belongs to (openat2 with
 * RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS and RESOLVE_NO_SYMLINKS), so nothing leaves it, whatever
 * others do to the tree meanwhile. Symbolic links are followed here, hop by hop, and mean what a
 * command that sees the tree at / would see: /workspace/a is /workspace/a of the tree,
 * /etc/passwd is nothing. Special files are never opened.
 *
 * Private directories below a given root are not part of the tree: they are refused, listed and
 * copied nowhere.
 *
 * A file is replaced as a whole: its new content is written under a temporary name and renamed,
 * and keeps the mode and, where we may, the owner. */
#ifndef HARNESS_SANDBOX_FILES_DIRECTORY_H
#define HARNESS_SANDBOX_FILES_DIRECTORY_H

#include <sys/types.h>

#include "files.h"

/* Borrowed until files_directory_new returns. */
struct files_directory_options {
    const char *root;     /* an existing directory; NULL: /workspace is private, too */
    const char *base;     /* where private directories are made: /tmp, usually */
    uint64_t quota_bytes; /* of all regular files of the tree together; 0: no quota */
    bool no_system_names; /* /usr, /etc, ... are refused */
    bool has_owner; /* calls have the rights of uid and gid, what is made is theirs; needs root */
    uid_t uid;
    gid_t gid;
};

/* Where parts of the tree are. The strings live until the tree is closed. */
struct files_directory_host {
    const char *private_path; /* what / of the tree is, but for /workspace; NULL: not made yet */
    const char *workspace; /* what /workspace is; NULL: the directory `workspace` in private_path */
};

/* Opens a tree. On an error `why` is a whole sentence. */
enum files_error files_directory_new(const struct files_directory_options *options,
                                     struct files **out, char why[FILES_DETAIL_SIZE]);

/* Where a tree of this kind is; false for another kind. With `make` its private directory is made
 * now, if it can be: FILES_OK or an error as of a call. */
bool files_directory_host(struct files *f, bool make, struct files_directory_host *out,
                          enum files_error *error);

/* Counts the bytes of the whole tree anew: something else may have written to it. FILES_EQUOTA
 * when they are more than its quota. */
enum files_error files_directory_measure(struct files *f, uint64_t *bytes);

/* Removes the private directories below base whose engines have ended without doing so. */
void files_directory_sweep(const char *base);

#endif
