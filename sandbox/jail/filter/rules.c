/* rules.c - the seccomp filter, by libseccomp, when harness-jail is built: prints the compiled filter
 * as a C array, which ../filter.c has in it. So the jail starts half a millisecond earlier, and needs
 * no library.
 *
 * Everything is allowed but what is listed here: programs
 * of all kinds run in here, so a list of what they need would be either wrong or of no use; what a
 * list of refusals misses is still bounded by the namespaces.
 *
 * Another architecture than our own (32-bit calls, x32) is no way around it: its first call kills.
 * Arguments are compared as the kernel reads them: an int in a 64-bit register is masked, or the
 * comparison is one that its upper half cannot get past. */
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "compile.h"

#define LOW32 0xffffffffULL
#define SET_IDS (S_ISUID | S_ISGID)
enum { NR_FCHMODAT2 = 452, NR_OPEN_TREE_ATTR = 467 }; /* newer than Debian's libseccomp */

static const int REFUSED[] = {
    /* mounts and roots */
    SCMP_SYS(mount), SCMP_SYS(umount), SCMP_SYS(umount2), SCMP_SYS(pivot_root),
    SCMP_SYS(move_mount), SCMP_SYS(open_tree), NR_OPEN_TREE_ATTR, SCMP_SYS(fsopen),
    SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(mount_setattr),
    SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(quotactl), SCMP_SYS(quotactl_fd),
    SCMP_SYS(fanotify_init),
    /* other namespaces */
    SCMP_SYS(unshare), SCMP_SYS(setns),
    /* other processes */
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp), SCMP_SYS(move_pages),
    SCMP_SYS(migrate_pages), SCMP_SYS(lookup_dcookie),
    /* the kernel's own parts, which are large, young, or for root */
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(add_key),
    SCMP_SYS(request_key), SCMP_SYS(keyctl), SCMP_SYS(init_module), SCMP_SYS(finit_module),
    SCMP_SYS(create_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(syslog), SCMP_SYS(acct), SCMP_SYS(iopl),
    SCMP_SYS(ioperm), SCMP_SYS(vhangup), SCMP_SYS(uselib), SCMP_SYS(sysfs), SCMP_SYS(nfsservctl),
    SCMP_SYS(vm86), SCMP_SYS(vm86old), SCMP_SYS(modify_ldt),
    /* files by handle are files by no path */
    SCMP_SYS(open_by_handle_at), SCMP_SYS(name_to_handle_at),
    /* what is the same for everybody on the machine */
    SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(clock_settime64), SCMP_SYS(stime),
    SCMP_SYS(adjtimex), SCMP_SYS(clock_adjtime), SCMP_SYS(clock_adjtime64), SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname)};

/* As if the kernel did not have them: programs know what to do then. */
static const int UNKNOWN[] = {SCMP_SYS(clone3),  /* its flags are where no filter can look */
                              SCMP_SYS(openat2), /* so is its mode */
                              SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
                              SCMP_SYS(io_uring_register)};

static const unsigned long NEW_NAMESPACES[] = {CLONE_NEWUSER,  CLONE_NEWNS,  CLONE_NEWPID,
                                               CLONE_NEWNET,   CLONE_NEWIPC, CLONE_NEWUTS,
                                               CLONE_NEWCGROUP};

/* Calls that can give a file its set-uid or set-gid bit, and which of their arguments says so. */
static const struct {
    int number;
    unsigned mode;
} SETS_MODE[] = {{SCMP_SYS(chmod), 1},  {SCMP_SYS(fchmod), 1}, {SCMP_SYS(fchmodat), 2},
                 {NR_FCHMODAT2, 2},     {SCMP_SYS(creat), 1},  {SCMP_SYS(open), 2},
                 {SCMP_SYS(openat), 3}, {SCMP_SYS(mknod), 1},  {SCMP_SYS(mknodat), 2},
                 {SCMP_SYS(mkdir), 1},  {SCMP_SYS(mkdirat), 2}};

static void refuse(scmp_filter_ctx filter, int error, int number, const struct scmp_arg_cmp *when) {
    /* Names that this architecture does not have are below zero, and are no calls here. */
    if (number < 0) return;
    unsigned count = when ? 1 : 0;
    check(seccomp_rule_add_array(filter, SCMP_ACT_ERRNO((unsigned)error), number, count, when),
          "seccomp");
}

static void refuse_where(scmp_filter_ctx filter, int number, struct scmp_arg_cmp when) {
    refuse(filter, EPERM, number, &when);
}

static void refuse_bit(scmp_filter_ctx filter, int number, unsigned argument, unsigned long bit) {
    refuse_where(filter, number, (struct scmp_arg_cmp){argument, SCMP_CMP_MASKED_EQ, bit, bit});
}

/* Local ones and TCP or UDP, and no raw ones: none that the network namespace does not bound (vsock),
 * none that brings a part of the kernel with it that only privileged programs need. */
static void refuse_sockets(scmp_filter_ctx filter, int number) {
    static const int OTHER_TYPES[] = {0, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (unsigned family = 0; family <= AF_INET6; family++)
        if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
            refuse_where(filter, number, SCMP_A0(SCMP_CMP_EQ, family));
    refuse_where(filter, number, SCMP_A0(SCMP_CMP_GT, AF_INET6));
    for (size_t i = 0; i < sizeof OTHER_TYPES / sizeof OTHER_TYPES[0]; i++)
        refuse_where(filter, number,
                     SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, (scmp_datum_t)OTHER_TYPES[i]));
    /* SCTP, MPTCP, L2TP, UDP-Lite, SMC, ...: the first to ask has the kernel load them. */
    refuse(filter, EPROTONOSUPPORT, number, &SCMP_A2(SCMP_CMP_GT, IPPROTO_ICMPV6));
}

static void add_rules(scmp_filter_ctx filter) {
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++)
        refuse(filter, EPERM, REFUSED[i], NULL);
    for (size_t i = 0; i < sizeof UNKNOWN / sizeof UNKNOWN[0]; i++)
        refuse(filter, ENOSYS, UNKNOWN[i], NULL);
    for (size_t i = 0; i < sizeof NEW_NAMESPACES / sizeof NEW_NAMESPACES[0]; i++)
        refuse_bit(filter, SCMP_SYS(clone), 0, NEW_NAMESPACES[i]);
    for (size_t i = 0; i < sizeof SETS_MODE / sizeof SETS_MODE[0]; i++) {
        refuse_bit(filter, SETS_MODE[i].number, SETS_MODE[i].mode, S_ISUID);
        refuse_bit(filter, SETS_MODE[i].number, SETS_MODE[i].mode, S_ISGID);
    }
    refuse_sockets(filter, SCMP_SYS(socket));
    refuse_sockets(filter, SCMP_SYS(socketpair));
    /* Typing into the terminal of whoever started us. */
    refuse_where(filter, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, TIOCSTI));
    refuse_where(filter, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, TIOCLINUX));
}

int main(void) {
    scmp_filter_ctx filter = begin(SCMP_ACT_ALLOW);
    add_rules(filter);
    return print(filter);
}
