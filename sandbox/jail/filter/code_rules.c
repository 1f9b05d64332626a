/* code_rules.c - the seccomp filter of programs that models write (../code.h), compiled as rules.c is.
 *
 * Nothing is allowed but what the Lua library and malloc cannot do without, once all has been set up:
 * no file can be opened, no process made, no memory made executable. What is asked for beyond that
 * kills the process, since only code that has got out of Lua asks for it. */
#include <sys/mman.h>

#include "compile.h"

#define LOW32 0xffffffffULL

static const int ALLOWED[] = {
    SCMP_SYS(exit_group), SCMP_SYS(exit),
    /* malloc; mmap is below, and mprotect not needed by a process of one thread */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    /* a signal handler's return; a read that goes on after a SIGSTOP */
    SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall),
    /* is somebody reading? */
    SCMP_SYS(poll),
    /* math.randomseed, where the kernel offers no quicker way */
    SCMP_SYS(time), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday)};

static void allow_where(scmp_filter_ctx filter, int number, struct scmp_arg_cmp when) {
    check(seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &when), "allowing");
}

int main(void) {
    scmp_filter_ctx filter = begin(SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; i < sizeof ALLOWED / sizeof *ALLOWED; i++)
        check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, ALLOWED[i], 0), "allowing");
    allow_where(filter, SCMP_SYS(read), SCMP_A0(SCMP_CMP_MASKED_EQ, LOW32, STDIN_FILENO));
    allow_where(filter, SCMP_SYS(write), SCMP_A0(SCMP_CMP_MASKED_EQ, LOW32, STDOUT_FILENO));
    allow_where(filter, SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return print(filter);
}
