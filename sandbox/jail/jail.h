/* jail.h - what the files of harness-jail share. harness-jail is a program of its own, in C, linked
 * statically and with nothing of the engine's but its JSON: the library holds it as bytes (../jail_image.h) and
 * starts it by descriptor, so any host finds it. It has one subcommand for each use:
 *
 *     harness-jail exec ...        confines itself, then runs one command and reports its end
 *     harness-jail supervise ...   runs a program on the host and ends all that it started
 *     harness-jail code            runs one Lua program of a model, which can only call tools
 *
 * Each subcommand is one function that gets its own arguments (argv[0] is its name) and returns the
 * exit status of the program. Status 125 means that the jail itself failed. */
#ifndef HARNESS_JAIL_H
#define HARNESS_JAIL_H

enum { JAIL_FAILED = 125 };

int exec_main(int argc, char **argv);
int supervise_main(int argc, char **argv);
int code_main(int argc, char **argv);

#endif
