/* probe.c - attempts to get out of the sandbox, for escape_spec.lua: `probe NAME [ARGUMENT]` prints "GOT"
 * when the attempt has worked, else "refused: why". Linked statically. `probe host-...` are helpers that run on
 * the host and wait to be killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A result below zero is a refusal, with its errno. */
static long argument; /* of the command line, as a number */
static const char *text = "";

static pid_t sleeping_child(void) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    for (;;) pause();
}

static long end_child(pid_t pid, long result) {
    int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    errno = error;
    return result;
}

/* ---- system calls --------------------------------------------------------------------------- */

static long try_unshare(void) {
    return unshare(CLONE_NEWUSER);
}

static long in_child(long pid) {
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid((pid_t)pid, NULL, 0);
    return pid;
}

static long try_clone(void) {
    return in_child(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

static long try_clone3(void) {
    uint64_t args[11] = {CLONE_NEWUSER};
    args[4] = SIGCHLD;
    return in_child(syscall(SYS_clone3, args, sizeof args));
}

static long try_setns(void) {
    int fd = open("/proc/self/ns/net", O_RDONLY);
    /* Without the capability this is refused, too: EPERM of the filter comes before EINVAL of the type. */
    long rc = syscall(SYS_setns, fd, CLONE_NEWUSER);
    return rc < 0 && errno == EINVAL ? 0 : rc;
}

static long try_ptrace(void) {
    pid_t pid = sleeping_child();
    long rc = ptrace(PTRACE_SEIZE, pid, NULL, NULL);
    return end_child(pid, rc);
}

static long try_vm_read(void) {
    static char secret[8] = "secret";
    char out[8];
    struct iovec here = {out, sizeof out}, there = {secret, sizeof secret};
    pid_t pid = sleeping_child();
    return end_child(pid, process_vm_readv(pid, &here, 1, &there, 1, 0));
}

static long try_pidfd_getfd(void) {
    pid_t pid = sleeping_child();
    long pidfd = syscall(SYS_pidfd_open, pid, 0);
    return end_child(pid, syscall(SYS_pidfd_getfd, pidfd, 0, 0));
}

static long try_kcmp(void) {
    pid_t pid = sleeping_child();
    return end_child(pid, syscall(SYS_kcmp, getpid(), pid, 0, 0, 0));
}

static long try_add_key(void) {
    return syscall(SYS_add_key, "user", "jail-spec", "x", 1, -2 /* of the process */);
}

static long try_keyctl(void) {
    return syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -2, 1);
}

static long try_netlink(void) {
    return socket(AF_NETLINK, SOCK_RAW, 0);
}

/* The upper half of the register must not matter. */
static long try_netlink_high(void) {
    return syscall(SYS_socket, 0x100000000UL | AF_NETLINK, SOCK_DGRAM, 0);
}

/* SCTP, UDP-Lite, MPTCP: whichever this kernel has. */
static long try_protocol(void) {
    static const struct {
        int type, protocol;
    } OTHERS[] = {{SOCK_STREAM, 132}, {SOCK_DGRAM, 136}, {SOCK_STREAM, 262}};
    long fd = -1;
    for (size_t i = 0; fd < 0 && i < sizeof OTHERS / sizeof OTHERS[0]; i++)
        fd = socket(AF_INET, OTHERS[i].type, OTHERS[i].protocol);
    return fd;
}

/* A kernel that does not have it yet says so; the filter says something else. */
static long try_open_tree(void) {
    long rc = syscall(467 /* open_tree_attr */, AT_FDCWD, "/", 0, NULL, 0);
    return rc < 0 && errno == ENOSYS ? 0 : rc;
}

static long try_io_uring(void) {
    char parameters[256] = {0};
    return syscall(SYS_io_uring_setup, 4, parameters);
}

static long try_userfaultfd(void) {
    return syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
}

static long try_fanotify(void) {
    return fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
}

static long try_handle(void) {
    struct file_handle *handle = calloc(1, sizeof *handle + MAX_HANDLE_SZ);
    int mount;
    if (!handle) return -1;
    handle->handle_bytes = MAX_HANDLE_SZ;
    return name_to_handle_at(AT_FDCWD, "/workspace", handle, &mount, 0);
}

static long try_ldt(void) {
    char out[64];
    return syscall(SYS_modify_ldt, 0, out, sizeof out);
}

static long try_move_pages(void) {
    void *pages[1] = {&argument};
    int status[1];
    return syscall(SYS_move_pages, 0, 1, pages, NULL, status, 0);
}

/* getpid by the call gate of 32-bit programs, whose numbers a filter for 64 bits would misread. */
static long try_other_architecture(void) {
    long rc = -1;
#ifdef __x86_64__
    __asm__ volatile("int $0x80" : "=a"(rc) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    if (rc < 0) errno = (int)-rc;
#endif
    return rc;
}

static long try_setuid_file(void) {
    int fd = open("/workspace/suid", O_CREAT | O_RDWR, 0700);
    if (fd < 0) return -1;
    return fchmod(fd, 04755);
}

static long try_setgid_file(void) {
    int fd = open("/workspace/sgid", O_CREAT | O_RDWR, 0700);
    if (fd < 0) return -1;
    return syscall(SYS_fchmodat, AT_FDCWD, "/workspace/sgid", 02755);
}

static long try_created_setuid(void) {
    return syscall(SYS_openat, AT_FDCWD, "/workspace/created", O_CREAT | O_EXCL | O_RDWR, 04755);
}

/* ---- capabilities --------------------------------------------------------------------------- */

static long try_chroot(void) {
    return chroot("/tmp");
}

static long try_securebits(void) {
    return prctl(PR_SET_SECUREBITS, SECBIT_NOROOT);
}

/* ---- the host ------------------------------------------------------------------------------- */

static struct sockaddr_in loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)argument)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static long try_tcp(void) {
    struct sockaddr_in address = loopback();
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

static long try_udp(void) {
    struct sockaddr_in address = loopback();
    char answer[8];
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) return -1;
    if (send(fd, "ping", 4, 0) < 0) return -1;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, 2000) != 1) return errno = ETIMEDOUT, -1;
    return recv(fd, answer, sizeof answer, 0);
}

static socklen_t abstract(struct sockaddr_un *address) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "%s", text);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
}

static long try_abstract(void) {
    struct sockaddr_un address;
    socklen_t len = abstract(&address);
    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, len);
}

static long try_kill(void) {
    return kill((pid_t)argument, 0);
}

static long try_shm(void) {
    return shmget((key_t)argument, 0, 0);
}

static long try_msg(void) {
    return msgget((key_t)argument, 0);
}

/* ---- limits --------------------------------------------------------------------------------- */

static long try_forks(void) {
    for (long i = 0; i < argument; i++) {
        pid_t pid = fork();
        if (pid < 0) return -1;
        if (pid == 0)
            for (;;) pause();
    }
    return 0;
}

static long try_memory(void) {
    size_t size = (size_t)argument << 20;
    char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED) return -1;
    memset(bytes, 1, size);
    return 0;
}

static long try_heap(void) {
    for (long i = 0; i < argument; i++) {
        char *bytes = malloc(1 << 20);
        if (!bytes) return -1;
        memset(bytes, 1, 1 << 20);
    }
    return 0;
}

static long try_spin(void) {
    struct rusage use;
    do getrusage(RUSAGE_SELF, &use);
    while (use.ru_utime.tv_sec + use.ru_stime.tv_sec < argument);
    return 0;
}

/* ---- helpers on the host -------------------------------------------------------------------- */

static void ready(long value) {
    printf("%ld\n", value);
    fflush(stdout);
}

static long host_tcp(void) {
    struct sockaddr_in address = loopback();
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 64) != 0) return -1;
    getsockname(fd, (struct sockaddr *)&address, &len);
    ready(ntohs(address.sin_port));
    for (;;) pause();
}

static long host_udp(void) {
    struct sockaddr_in address = loopback(), from;
    socklen_t len = sizeof address;
    char bytes[64];
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (struct sockaddr *)&address, len) != 0) return -1;
    getsockname(fd, (struct sockaddr *)&address, &len);
    ready(ntohs(address.sin_port));
    for (;;) {
        len = sizeof from;
        ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &len);
        if (n > 0) sendto(fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, len);
    }
}

static long host_abstract(void) {
    struct sockaddr_un address;
    socklen_t len = abstract(&address);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 64) != 0) return -1;
    ready(0);
    for (;;) pause();
}

static volatile sig_atomic_t stopped;

static void on_stop(int signum) {
    (void)signum;
    stopped = 1;
}

static long host_ipc(void) {
    signal(SIGTERM, on_stop);
    key_t key = getpid(); /* nobody else's, should this run twice at a time */
    int shm = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0666);
    int queue = msgget(key, IPC_CREAT | IPC_EXCL | 0666);
    if (shm < 0 || queue < 0) return -1;
    ready(key);
    while (!stopped) pause();
    shmctl(shm, IPC_RMID, NULL);
    return msgctl(queue, IPC_RMID, NULL);
}

/* What a machine is like that has switched user namespaces off: the rest of the command line runs under a
 * filter that refuses them. */
static long host_no_namespaces(char **program) {
    static struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog all = {sizeof filter / sizeof filter[0], filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) != 0) return -1;
    return execvp(program[0], program);
}

static const struct {
    const char *name;
    long (*run)(void);
} ATTEMPTS[] = {
    {"unshare", try_unshare},
    {"clone", try_clone},
    {"clone3", try_clone3},
    {"setns", try_setns},
    {"ptrace", try_ptrace},
    {"vm_read", try_vm_read},
    {"pidfd_getfd", try_pidfd_getfd},
    {"kcmp", try_kcmp},
    {"add_key", try_add_key},
    {"keyctl", try_keyctl},
    {"netlink", try_netlink},
    {"netlink_high", try_netlink_high},
    {"protocol", try_protocol},
    {"open_tree", try_open_tree},
    {"io_uring", try_io_uring},
    {"userfaultfd", try_userfaultfd},
    {"fanotify", try_fanotify},
    {"handle", try_handle},
    {"ldt", try_ldt},
    {"move_pages", try_move_pages},
    {"other_architecture", try_other_architecture},
    {"setuid_file", try_setuid_file},
    {"setgid_file", try_setgid_file},
    {"created_setuid", try_created_setuid},
    {"chroot", try_chroot},
    {"securebits", try_securebits},
    {"tcp", try_tcp},
    {"udp", try_udp},
    {"abstract", try_abstract},
    {"kill", try_kill},
    {"shm", try_shm},
    {"msg", try_msg},
    {"forks", try_forks},
    {"memory", try_memory},
    {"heap", try_heap},
    {"spin", try_spin},
    {"host-tcp", host_tcp},
    {"host-udp", host_udp},
    {"host-abstract", host_abstract},
    {"host-ipc", host_ipc},
};

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "host-no-namespaces") == 0)
        return host_no_namespaces(argv + 2) < 0;
    if (argc > 2) text = argv[2], argument = strtol(text, NULL, 10);
    for (size_t i = 0; i < sizeof ATTEMPTS / sizeof ATTEMPTS[0]; i++) {
        if (argc < 2 || strcmp(argv[1], ATTEMPTS[i].name) != 0) continue;
        errno = 0;
        if (ATTEMPTS[i].run() >= 0) puts("GOT");
        else printf("refused: %s\n", strerror(errno));
        return 0;
    }
    fputs("probe: no such attempt\n", stderr);
    return 127;
}
