/* jail_image.c - the bytes are linked in (jail_data.o, made by the Makefile). Sealed, so that nobody
 * who gets the descriptor can change what is executed. */
#include "jail_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

extern const char jail_program[];
extern const uint64_t jail_program_size;

const char *jail_image_bytes(size_t *len) {
    *len = (size_t)jail_program_size;
    return jail_program;
}

/* Kernels before 6.3 know no MFD_EXEC, later ones may insist on it (vm.memfd_noexec). */
static int open_anonymous(void) {
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("harness-jail", flags | MFD_EXEC);
    return fd >= 0 || errno != EINVAL ? fd : memfd_create("harness-jail", flags);
}

static int fill(int fd) {
    size_t len;
    const char *bytes = jail_image_bytes(&len);
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        bytes += n;
        len -= (size_t)n;
    }
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

int jail_image_open(void) {
    int fd = open_anonymous();
    if (fd < 0) return -errno;
    if (fill(fd) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}
