/* compile.h - what the programs have in common that compile a seccomp filter when harness-jail is built:
 * each prints it as a C array for a file of ../ to include. */
#ifndef HARNESS_JAIL_FILTER_COMPILE_H
#define HARNESS_JAIL_FILTER_COMPILE_H

#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* rc: 0 or a negative errno, which ends the build. */
static inline void check(int rc, const char *what) {
    if (rc == 0) return;
    fprintf(stderr, "the seccomp filter: %s: %s\n", what, strerror(-rc));
    exit(1);
}

/* A filter with this default; another architecture's calls kill. */
static inline scmp_filter_ctx begin(uint32_t otherwise) {
    scmp_filter_ctx filter = seccomp_init(otherwise);
    if (!filter) check(-ENOMEM, "beginning");
    check(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
          "the architecture");
    check(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2), "the order");
    return filter;
}

/* Prints the filter, compiled, as an array FILTER, and frees it; the program's exit status. */
static inline int print(scmp_filter_ctx filter) {
    struct sock_filter one;
    FILE *compiled = tmpfile();
    if (!compiled) check(-ENOMEM, "beginning");
    check(seccomp_export_bpf(filter, fileno(compiled)), "compiling");
    seccomp_release(filter);
    if (lseek(fileno(compiled), 0, SEEK_SET) != 0) check(-errno, "reading");
    puts("static const struct sock_filter FILTER[] = {");
    while (read(fileno(compiled), &one, sizeof one) == (ssize_t)sizeof one)
        printf("    {0x%02x, %u, %u, 0x%08xU},\n", one.code, one.jt, one.jf, one.k);
    puts("};");
    return fclose(compiled) == 0 && fflush(stdout) == 0 ? 0 : 1;
}

#endif
