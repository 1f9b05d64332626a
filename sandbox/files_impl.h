/* files_impl.h - what the files*.c files that are of no kind share. Nobody else includes it. */
#ifndef HARNESS_SANDBOX_FILES_IMPL_H
#define HARNESS_SANDBOX_FILES_IMPL_H

#include "files.h"

/* A normal path. */
struct normal {
    size_t len;
    char bytes[PATH_BYTES_MAX + 1];
};

/* Every call with a path begins with this: FILES_OK, or why there is nothing to be done. */
enum files_error files_begin(struct files *f, const char *path, size_t len, struct normal *out);

/* Around what a kind is asked to do: whose rights it is done with. */
void files_as_owner(struct files *f, bool on);

#endif
