/* child.h - runs one program and waits for its end, listening to the engine meanwhile.
 *
 * Orders come on a descriptor: each byte is the number of a signal for the program's group; the end
 * of the descriptor (the engine has closed it, or is dead) means: end everything. What "everything"
 * is differs: in a PID namespace of which we are the first process the kernel ends all with us;
 * on the host `end_all` does it. */
#ifndef HARNESS_JAIL_CHILD_H
#define HARNESS_JAIL_CHILD_H

struct child {
    char *const *argv;     /* argv[0] is looked up in PATH unless it holds a slash */
    const char *cwd;       /* NULL: ours */
    int orders;            /* -1: none */
    void (*prepare)(void); /* called in the new process before it executes; NULL: nothing */
    void (*end_all)(void); /* called before we leave; NULL: the kernel does it */
};

/* Runs it, reports its end (report.h) and returns its exit status, 128 + n for signal n, or
 * JAIL_FAILED when it had to be ended because the orders ended. */
int child_run(const struct child *child);

#endif
