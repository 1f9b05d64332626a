/* path.h - virtual paths: what the file calls of a sandbox take.
 *
 *     char out[PATH_BYTES_MAX + 1];
 *     size_t out_len;
 *     enum path_error rc = path_normalise(path, len, out, &out_len);     // "/a//b/../c/" -> "/a/c"
 *     if (rc != PATH_OK) puts(path_error_text(rc));
 *
 * A path is absolute, its names are separated by '/', and any byte but '/' and NUL may be in a
 * name, as POSIX has it. Normalising is lexical: repeated slashes, ".", ".." and a slash at the
 * end go; above the root is the root. So no path leads out of the tree by itself; what links do
 * is the tree's matter. The limits are those of Linux, for every kind of tree, so that what works
 * in one works in another. Pure functions. */
#ifndef HARNESS_SANDBOX_PATH_H
#define HARNESS_SANDBOX_PATH_H

#include <stdbool.h>
#include <stddef.h>

enum { PATH_BYTES_MAX = 4095, PATH_NAME_MAX = 255 };

enum path_error {
    PATH_OK,
    PATH_ERELATIVE, /* it does not begin with '/' */
    PATH_ENUL,
    PATH_ENAME, /* a name is longer than PATH_NAME_MAX */
    PATH_ELONG  /* normalised it is longer than PATH_BYTES_MAX */
};

/* Writes the normal form and a NUL; *out_len does not count the NUL. The root is "/". */
enum path_error path_normalise(const char *path, size_t len, char out[PATH_BYTES_MAX + 1],
                               size_t *out_len);

/* What is wrong, as the end of a sentence that begins with the path: "is a relative path; ...". */
const char *path_error_text(enum path_error error);

/* Is the normal path `path` the normal path `top`, or below it? */
bool path_within(const char *path, size_t len, const char *top, size_t top_len);

/* Where the last name of a normal path begins; of the root: its end. */
size_t path_name_at(const char *path, size_t len);

#endif
