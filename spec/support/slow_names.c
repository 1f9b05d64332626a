/* slow_names.c - a getaddrinfo for specs, put before the C library's by LD_PRELOAD.
 *
 * Names that begin with "stuck" are answered after a minute, with "slow" after 200 ms, with "no"
 * never found; all others, and those, are 127.0.0.1. Each call adds a line to the file that
 * NAMES_LOG names. */
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int starts(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void note(const char *name) {
    const char *path = getenv("NAMES_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (fd < 0) return;
    char line[300];
    int n = snprintf(line, sizeof line, "%s\n", name);
    if (write(fd, line, (size_t)n) < 0) perror("slow_names");
    close(fd);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    (void)service;
    (void)hints;
    note(name);
    if (starts(name, "stuck")) sleep(60);
    if (starts(name, "slow")) usleep(200000);
    if (starts(name, "no")) return EAI_NONAME;
    struct {
        struct addrinfo info;
        struct sockaddr_in address;
    } *answer = calloc(1, sizeof *answer);
    if (!answer) return EAI_MEMORY;
    answer->address.sin_family = AF_INET;
    answer->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    answer->info.ai_family = AF_INET;
    answer->info.ai_socktype = SOCK_STREAM;
    answer->info.ai_addrlen = sizeof answer->address;
    answer->info.ai_addr = (struct sockaddr *)&answer->address;
    *result = &answer->info;
    return 0;
}

void freeaddrinfo(struct addrinfo *info) {
    free(info);
}
