/* files_directory_copy.h - copying a directory of the host, and making one like another. For
 * files_directory*.c only.
 *
 * Regular files, directories and links are copied, with modes, times and, as root, owners;
 * special files are not. A file shares its blocks with its copy where the file system can do that
 * (FICLONE, copy_file_range). No link is followed. At most COPY_MAX entries. */
#ifndef HARNESS_SANDBOX_FILES_DIRECTORY_COPY_H
#define HARNESS_SANDBOX_FILES_DIRECTORY_COPY_H

#include <sys/stat.h>

enum { COPY_MAX = 200000 };

/* Copies what is in one directory into another, which is empty. 0 or an errno (E2BIG: too many
 * entries); then some of it is there. `except`: a directory that both leave alone, wherever it is;
 * it may hold the copy. */
int copy_tree(int from, int to, const struct stat *except);

/* Makes `to` like `from`: what is not there or is of another kind is removed, files with other
 * bytes are replaced, the rest stays untouched. Special files stay. 0 or an errno; then some of
 * it is done. */
int copy_restore(int from, int to, const struct stat *except);

#endif
