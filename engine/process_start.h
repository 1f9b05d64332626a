/* process_start.h - what a child process is started with: its streams, and the starter on uv_spawn
 * (see struct process_starter). Private to process*.c. */
#ifndef HARNESS_ENGINE_PROCESS_START_H
#define HARNESS_ENGINE_PROCESS_START_H

#include "process.h"

/* The standard streams, and what a jail reports on and takes orders from. */
enum { STREAM_ORDERS = 4, STREAM_FDS = 5 };

/* The child's and our end of one stream; -1: none. */
struct stream_fds {
    int child;
    int ours;      /* non-blocking; who takes it over sets -1 here */
    bool borrowed; /* the child's end is not ours to close */
};

/* Opens what the options ask for. Returns 0 or a UV_ error; stream_fds_close in both cases. */
int stream_fds_open(struct stream_fds fds[STREAM_FDS], const struct process_options *options);
void stream_fds_close(struct stream_fds fds[STREAM_FDS]);

/* write(2) without raising SIGPIPE in this process, which belongs to the host. */
ssize_t stream_write(int fd, const char *bytes, size_t len);

struct process_starter process_uv_starter(void);

#endif
