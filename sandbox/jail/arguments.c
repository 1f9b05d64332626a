/* arguments.c - see arguments.h. */
#include "arguments.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

static void refuse(const char *what) {
    errno = EINVAL;
    report_failure(what);
}

static uint64_t number_of(const char *text) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-') refuse(text);
    return value;
}

static int descriptor_of(const char *text) {
    uint64_t number = number_of(text);
    if (number > INT_MAX || fcntl((int)number, F_GETFD) < 0) refuse(text);
    return (int)number;
}

static void take(const struct argument *one, const char *value) {
    if (one->number) *one->number = number_of(value);
    else if (one->fd) *one->fd = descriptor_of(value);
    else if (one->text) *one->text = value;
    else if (one->add(value) != 0) refuse(one->name);
}

static const struct argument *find(const struct argument *known, const char *name) {
    while (known->name && strcmp(known->name, name) != 0) known++;
    if (!known->name) refuse(name);
    return known;
}

char *const *arguments_read(int argc, char **argv, const struct argument *known) {
    int i = 1;
    while (i < argc && strcmp(argv[i], "--") != 0) {
        const struct argument *one = find(known, argv[i++]);
        if (one->flag) {
            *one->flag = true;
            continue;
        }
        if (i == argc) refuse(one->name);
        take(one, argv[i++]);
    }
    if (i + 1 >= argc) refuse("no program to run");
    return argv + i + 1;
}
