/* privileges.c - capabilities by the system calls themselves: libcap would be a library for two
 * calls. What was dropped is read back: a process that still has some must not go on. */
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.h"
#include "report.h"

static int is_empty(const struct __user_cap_data_struct set[2]) {
    return !(set[0].effective | set[0].permitted | set[0].inheritable | set[1].effective |
             set[1].permitted | set[1].inheritable);
}

void privileges_keep(void) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) report_failure("no_new_privs");
}

void privileges_drop(void) {
    /* May be refused: who has no capability cannot drop its bounding set, and needs not. */
    for (unsigned long one = 0; prctl(PR_CAPBSET_DROP, one, 0, 0, 0) == 0; one++) continue;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}}, now[2] = {{0}};
    if (syscall(SYS_capset, &header, none) != 0) report_failure("dropping capabilities");
    header.pid = 0;
    if (syscall(SYS_capget, &header, now) != 0) report_failure("reading capabilities");
    errno = EPERM;
    if (!is_empty(now)) report_failure("capabilities are left");
    privileges_keep();
}
