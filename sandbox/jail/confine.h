/* confine.h - what a process can give up by itself, for good, and for all that it starts. Each function
 * ends this process with a report when it cannot do its part. Order: limits are set last, in the
 * command's own process; the filter comes after all that it would forbid. */
#ifndef HARNESS_JAIL_CONFINE_H
#define HARNESS_JAIL_CONFINE_H

#include <stdint.h>

/* 0: as it is. */
struct limits {
    uint64_t cpu_s; /* CPU time of each process */
    uint64_t
        data; /* bytes of private writable memory of each process; the address space stays wide */
    uint64_t file;      /* bytes of a file that is written */
    uint64_t processes; /* and threads of the user (in this user namespace, since Linux 5.14) */
    uint64_t files;     /* open descriptors of each process */
};

/* Sets what is given, no core dumps, no POSIX message queues, no locked memory. */
void limits_apply(const struct limits *limits);

/* No capability in any set, and none to be had by executing something: no_new_privs. */
void privileges_drop(void);
/* The same without capabilities, for those who were given some. */
void privileges_keep(void);

/* A path that may be written; see landlock_apply. Returns not 0 when there are too many. */
int landlock_allow(const char *path);
/* Writing, creating, removing, renaming only below the paths allowed, no signals to and no abstract
 * sockets of processes outside. Nothing on a kernel without Landlock: it is a second lock on a door
 * that the mounts keep shut. */
void landlock_apply(void);

/* The system calls that nothing in here needs and from which kernels have been broken. */
void filter_apply(void);

#endif
