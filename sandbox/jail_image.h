/* jail_image.h - harness-jail (jail/), as a file that the kernel executes by its descriptor.
 *
 *     int fd = jail_image_open();            // an anonymous file with the program, sealed
 *     ... let a child have it as descriptor N, which executes "/proc/self/fd/N"
 *     close(fd);
 *
 * No file on disk, so any host of the library has it. */
#ifndef HARNESS_SANDBOX_JAIL_IMAGE_H
#define HARNESS_SANDBOX_JAIL_IMAGE_H

#include <stddef.h>

/* A new descriptor, closed on exec, which the caller owns; negative: -errno. */
int jail_image_open(void);
/* The bytes of the program. */
const char *jail_image_bytes(size_t *len);

#endif
