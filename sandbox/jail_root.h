/* jail_root.h - makes a private tree (files_directory.h) fit to be the / of commands.
 *
 *     char why[JAIL_WHY_SIZE];
 *     int error = jail_root_prepare("/tmp/harness-lua-1000/ID/tree", uid, gid, why);
 *
 * Made are: the places of the system's mounts (/usr, /proc, /dev, ...), the links that a system of today has
 * there (/bin -> usr/bin), an /etc with nothing secret in it and one user, and /tmp and /home/user, which are
 * that user's. Commands see all of it read-only, but for what is mounted over it, so it is made once. */
#ifndef HARNESS_SANDBOX_JAIL_ROOT_H
#define HARNESS_SANDBOX_JAIL_ROOT_H

#include <sys/types.h>

enum { JAIL_WHY_SIZE = 320, JAIL_ID = 1000 /* who commands are, in there */ };

/* uid, gid: who the commands run as on the host; -1: as we do. Returns 0, or an errno; `why` is then a
 * whole sentence. */
int jail_root_prepare(const char *path, uid_t uid, gid_t gid, char why[JAIL_WHY_SIZE]);

#endif
