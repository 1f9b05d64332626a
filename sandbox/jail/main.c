/* main.c - harness-jail: which subcommand was asked for. */
#include <stdio.h>
#include <string.h>

#include "jail.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} SUBCOMMANDS[] = {
    {"exec", exec_main},
    {"supervise", supervise_main},
    {"code", code_main},
};

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof SUBCOMMANDS / sizeof SUBCOMMANDS[0]; i++)
        if (strcmp(name, SUBCOMMANDS[i].name) == 0) return SUBCOMMANDS[i].run(argc - 1, argv + 1);
    fprintf(stderr, "harness-jail is started by the harness: it has no subcommand '%s'\n", name);
    return JAIL_FAILED;
}
