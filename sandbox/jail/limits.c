/* limits.c - rlimits. A limit that is lower already stays: lower is stricter. */
#include <errno.h>
#include <sys/resource.h>

#include "confine.h"
#include "report.h"

static void limit(int resource, uint64_t soft, uint64_t hard, const char *what) {
    struct rlimit before;
    if (getrlimit(resource, &before) != 0) report_failure(what);
    struct rlimit wanted = {.rlim_cur = soft, .rlim_max = hard};
    if (before.rlim_max < wanted.rlim_max) wanted.rlim_max = before.rlim_max;
    if (wanted.rlim_max < wanted.rlim_cur) wanted.rlim_cur = wanted.rlim_max;
    if (setrlimit(resource, &wanted) != 0) report_failure(what);
}

void limits_apply(const struct limits *limits) {
    /* One second after SIGXCPU, which may be caught, comes SIGKILL. */
    if (limits->cpu_s) limit(RLIMIT_CPU, limits->cpu_s, limits->cpu_s + 1, "the limit of CPU time");
    if (limits->data) limit(RLIMIT_DATA, limits->data, limits->data, "the limit of memory");
    if (limits->file) limit(RLIMIT_FSIZE, limits->file, limits->file, "the limit of a file's size");
    if (limits->processes)
        limit(RLIMIT_NPROC, limits->processes, limits->processes, "the limit of processes");
    if (limits->files)
        limit(RLIMIT_NOFILE, limits->files, limits->files, "the limit of descriptors");
    limit(RLIMIT_CORE, 0, 0, "the limit of core dumps");
    limit(RLIMIT_MSGQUEUE, 0, 0, "the limit of message queues");
    limit(RLIMIT_MEMLOCK, 64 << 10, 64 << 10, "the limit of locked memory");
}
