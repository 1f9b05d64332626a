/* report.h - what the jail tells the engine, a line each, on a descriptor that the command never
 * sees (it is closed on exec):
 *
 *     started            all protections are in force, the command runs
 *     exit 3             the command has exited with this status
 *     signal 9           the command was ended by this signal
 *     error what: why    the jail could not do what it was asked; nothing was run. `cwd` and
 *                        `program` are what the caller gave
 *
 * Without a descriptor (-1) errors go to standard error and the rest nowhere. */
#ifndef HARNESS_JAIL_REPORT_H
#define HARNESS_JAIL_REPORT_H

/* Remembers the descriptor and keeps it from whatever is executed. */
void report_to(int fd);
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Reports "error what: strerror(errno)" and ends this process with JAIL_FAILED. */
void report_failure(const char *what) __attribute__((noreturn));
/* Has a process that shares our memory reported a failure? */
int report_has_failed(void);

#endif
