/* files_memory.h - a tree of files in memory, with a quota and snapshots that cost nothing.
 *
 *     struct files *f = files_memory_new(64 << 20, now_ms, clock);
 *     ...                                       // files.h
 *     files_free(f);
 *
 * There are no links. At first only the root exists. The quota counts the bytes of all files of
 * the tree, not what only snapshots hold; a tree has at most one file or directory for each 64
 * bytes of its quota, and never fewer than FILES_MEMORY_NODES. A snapshot takes constant time;
 * the first change of a directory after one copies the list of what is in that directory and in
 * those above it. A snapshot may be restored in any tree in memory (FILES_EQUOTA where it does
 * not fit). */
#ifndef HARNESS_SANDBOX_FILES_MEMORY_H
#define HARNESS_SANDBOX_FILES_MEMORY_H

#include "files.h"

enum { FILES_MEMORY_NODES = 1024 };

/* Milliseconds since the epoch. */
typedef uint64_t (*files_clock_fn)(void *user);

/* NULL: no memory. Freed with files_free. */
struct files *files_memory_new(uint64_t quota_bytes, files_clock_fn now_ms, void *user);

#endif
