/* arguments.h - the options of a subcommand: "--name value" or "--name", up to "--", then the program
 * and its arguments. Anything else is an error: what the engine writes has to be understood in full. */
#ifndef HARNESS_JAIL_ARGUMENTS_H
#define HARNESS_JAIL_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

struct argument {
    const char *name;              /* "--cpu"; NULL ends a list of them */
    uint64_t *number;              /* where its value goes; one of these is set */
    int *fd;                       /* a descriptor that is open */
    const char **text;             /* the last one counts */
    bool *flag;                    /* takes no value */
    int (*add)(const char *value); /* each value in turn; not 0: that is one too many */
};

/* Reads them; returns the program and its arguments, a list that ends with NULL. Ends this process
 * with a report when something is wrong. */
char *const *arguments_read(int argc, char **argv, const struct argument *known);

#endif
