/* files_directory_remove.h - removing a directory of the host. For files_directory*.c only. */
#ifndef HARNESS_SANDBOX_FILES_DIRECTORY_REMOVE_H
#define HARNESS_SANDBOX_FILES_DIRECTORY_REMOVE_H

#include <stdbool.h>

/* Removes the file or directory `name` of the directory `parent` with all that is below, without
 * following links, however deep. force: it is our own, so modes that keep us out are changed.
 * Returns 0 or an errno, ENOTEMPTY where others add to it all the time; then some of it may be left. */
int remove_tree(int parent, const char *name, bool force);

#endif
