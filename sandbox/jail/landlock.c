/* landlock.c - the system calls themselves: Debian's header ends at the second version of the interface.
 * Only writing is ruled; reading and executing is what the mounts show. Version 1 is not used: it
 * forbids every rename between directories. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.h"
#include "report.h"

enum { MOST_PATHS = 512, FIRST_ABI = 2 };

#define TRUNCATE (1ULL << 14)  /* since 3 */
#define IOCTL_DEV (1ULL << 15) /* since 5 */
#define SCOPES 3ULL            /* since 6: abstract sockets, signals */

#define FILE_RIGHTS (LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE | IOCTL_DEV)
#define DEVICE_RIGHTS (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
#define TREE_RIGHTS                                                                                \
    (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                              \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |    \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)

static const char *allowed[MOST_PATHS];
static int allowed_count;

struct ruleset { /* as the kernel has it since version 6 */
    uint64_t fs, net, scoped;
};

int landlock_allow(const char *path) {
    if (allowed_count == MOST_PATHS) return -1;
    allowed[allowed_count++] = path;
    return 0;
}

static long landlock_abi(void) {
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static void allow(int ruleset, uint64_t handled, const char *path) {
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) report_failure(path);
    struct landlock_path_beneath_attr rule = {
        .allowed_access = handled & (S_ISDIR(st.st_mode) ? FILE_RIGHTS | TREE_RIGHTS : FILE_RIGHTS),
        .parent_fd = fd,
    };
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        report_failure(path);
    close(fd);
}

void landlock_apply(void) {
    long abi = landlock_abi();
    if (abi < FIRST_ABI) return;
    struct ruleset wanted = {.fs = LANDLOCK_ACCESS_FS_WRITE_FILE | TREE_RIGHTS | DEVICE_RIGHTS};
    if (abi >= 3) wanted.fs |= TRUNCATE;
    if (abi >= 5) wanted.fs |= IOCTL_DEV;
    if (abi >= 6) wanted.scoped = SCOPES;
    size_t size = abi >= 6 ? sizeof wanted : abi >= 4 ? 2 * sizeof wanted.fs : sizeof wanted.fs;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &wanted, size, 0);
    if (ruleset < 0) report_failure("Landlock");
    for (int i = 0; i < allowed_count; i++) allow(ruleset, wanted.fs, allowed[i]);
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) report_failure("Landlock");
    close(ruleset);
}
