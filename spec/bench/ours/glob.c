/* glob.c - the engine's matcher on the paths of build/bench/paths.txt, and on a pattern that makes
 * matchers which go back explode. */
#include "../../../engine/glob.h"

#include "../paths.h"

struct job {
    struct glob *patterns[PATTERN_COUNT];
    char (*paths)[PATH_SIZE];
    size_t lengths[PATH_COUNT];
    long hits;
};

static void all_paths(long n, void *user) {
    struct job *job = user;
    (void)n;
    job->hits = 0;
    for (int g = 0; g < PATTERN_COUNT; g++)
        for (int i = 0; i < PATH_COUNT; i++)
            job->hits += glob_match(job->patterns[g], job->paths[i], job->lengths[i]);
}

struct hostile {
    struct glob *glob;
    const char *text;
    size_t len;
};

static long found;

static struct glob *compile(const char *pattern) {
    struct glob *g;
    if (glob_compile(pattern, strlen(pattern), GLOB_PATH, &g) != GLOB_OK) exit(1);
    return g;
}

static void *prepare(const char *pattern, const char *text) {
    static struct hostile hostile;
    hostile = (struct hostile){.glob = compile(pattern), .text = text, .len = strlen(text)};
    return &hostile;
}

static void one_text(long n, void *user) {
    struct hostile *job = user;
    for (long i = 0; i < n; i++) found += glob_match(job->glob, job->text, job->len);
}

int main(void) {
    static struct job job;
    job.paths = read_paths("build/bench/paths.txt");
    for (int i = 0; i < PATH_COUNT; i++) job.lengths[i] = strlen(job.paths[i]);
    for (int g = 0; g < PATTERN_COUNT; g++) job.patterns[g] = compile(PATTERNS[g]);
    measure("path", (long)PATH_COUNT * PATTERN_COUNT, all_paths, &job);
    printf("RESULT hits value=%ld\n", job.hits);

    measure_hostile(prepare, one_text);
    return found != 0;
}
