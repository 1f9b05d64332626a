/* fnmatch.c - libc's fnmatch on the same paths; without flags a star takes '/' too, as ours does. */
#include <fnmatch.h>

#include "../paths.h"

struct job {
    char (*paths)[PATH_SIZE];
    long hits;
};

static void all_paths(long n, void *user) {
    struct job *job = user;
    (void)n;
    job->hits = 0;
    for (int g = 0; g < PATTERN_COUNT; g++)
        for (int i = 0; i < PATH_COUNT; i++)
            job->hits += fnmatch(PATTERNS[g], job->paths[i], 0) == 0;
}

struct hostile {
    const char *pattern;
    const char *text;
};

static long found;

static void *prepare(const char *pattern, const char *text) {
    static struct hostile hostile;
    hostile = (struct hostile){.pattern = pattern, .text = text};
    return &hostile;
}

static void one_text(long n, void *user) {
    struct hostile *job = user;
    for (long i = 0; i < n; i++) found += fnmatch(job->pattern, job->text, 0) == 0;
}

int main(void) {
    struct job job = {.paths = read_paths("build/bench/paths.txt")};
    measure("path", (long)PATH_COUNT * PATTERN_COUNT, all_paths, &job);
    printf("RESULT hits value=%ld\n", job.hits);
    measure_hostile(prepare, one_text);
    return found != 0;
}
