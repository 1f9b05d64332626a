/* jail_root.h - the / of commands: a directory beside the private tree of a session (files_directory.h), in which the
 * places of all mounts are.
 *
 *     char why[JAIL_WHY_SIZE];
 *     int error = jail_root_make("/tmp/harness-lua-1000/ID/root", uid, gid, why);
 *     error = jail_root_fill_tree("/tmp/harness-lua-1000/ID/tree", uid, gid, why);
 *     error = jail_root_place(root, tree, "notes");      // for each name at the top of the tree
 *
 * In it are the places of the system's mounts (/usr, /proc, /dev, ...), the links that a system of today has there
 * (/bin -> usr/bin), and an /etc with nothing secret in it and one user. Commands see it read-only, and over it what
 * of the tree is at the top. */
#ifndef HARNESS_SANDBOX_JAIL_ROOT_H
#define HARNESS_SANDBOX_JAIL_ROOT_H

#include <sys/types.h>

enum { JAIL_WHY_SIZE = 320, JAIL_ID = 1000 /* who commands are, in there */ };

/* Makes `root`, which must not exist. uid, gid: who commands run as on the host; -1: as we do. Returns 0, or an errno;
 * `why` is then a whole sentence. */
int jail_root_make(const char *root, uid_t uid, gid_t gid, char why[JAIL_WHY_SIZE]);
/* Makes what commands need in the tree, /tmp, /home/user and /workspace, unless it is there. */
int jail_root_fill_tree(const char *tree, uid_t uid, gid_t gid, char why[JAIL_WHY_SIZE]);
/* Makes the place for what has this name in the tree. Returns 0 or an errno. */
int jail_root_place(const char *root, const char *tree, const char *name);

#endif
