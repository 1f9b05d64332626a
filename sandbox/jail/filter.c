/* filter.c - puts the seccomp filter in force. What it says is in filter/rules.c, which has made
 * filter_data.h of it. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "confine.h"
#include "filter_data.h"
#include "report.h"

void filter_apply(void) {
    union { /* the kernel only reads it */
        const struct sock_filter *from;
        struct sock_filter *to;
    } filter = {.from = FILTER};
    const struct sock_fprog program = {.len = sizeof FILTER / sizeof FILTER[0],
                                       .filter = filter.to};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) report_failure("seccomp");
}
