/* files_directory_private.h - the private directory of a session on the host.
 *
 *     BASE/harness-lua-UID/            ours, mode 0711
 *     BASE/harness-lua-UID/ID.lock     held by a lock that the kernel lets go of when we end
 *     BASE/harness-lua-UID/ID/         of the session's owner, mode 0700
 *     BASE/harness-lua-UID/ID/tree     the / of the session's tree
 *
 * ID cannot be guessed. A directory whose lock nobody holds is left over from an engine that was
 * killed: private_sweep removes it. For files_directory*.c only. */
#ifndef HARNESS_SANDBOX_FILES_DIRECTORY_PRIVATE_H
#define HARNESS_SANDBOX_FILES_DIRECTORY_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PRIVATE_ID_SIZE = 40 };

struct private_dir {
    int home;    /* BASE/harness-lua-UID; -1: there is none */
    int lock;    /* -1: there is none */
    int session; /* -1: there is none */
    int tree;    /* -1: there is none */
    char id[PRIVATE_ID_SIZE];
    char *path; /* of the tree */
};

struct private_owner {
    bool given;
    uid_t uid;
    gid_t gid;
};

/* The name of the directory in BASE. */
enum { PRIVATE_HOME_SIZE = 40 };
void private_home_name(char name[PRIVATE_HOME_SIZE]);

void private_init(struct private_dir *p);
/* Makes and locks one. 0, or an errno; `why` is then a whole sentence. */
int private_make(struct private_dir *p, const char *base, const struct private_owner *owner,
                 char *why, size_t size);
/* Removes it with all that is in it. */
void private_free(struct private_dir *p);
void private_sweep(const char *base);

#endif
