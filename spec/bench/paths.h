/* paths.h - the paths and patterns of the glob row, for the C programs; peers/glob.mjs has the same
 * patterns, and paths.lua writes the paths. */
#ifndef HARNESS_BENCH_PATHS_H
#define HARNESS_BENCH_PATHS_H

#include <string.h>

#include "measure.h"

enum { PATH_COUNT = 10000, PATH_SIZE = 128, PATTERN_COUNT = 5 };

static const char *const PATTERNS[PATTERN_COUNT] = {"/src/**/*.ts", "**/*.md", "/lib/*/file1?.js",
                                                    "/**/test/**", "*file99*.json"};

/* Patterns that make matchers which go back explode; the second one on a text that has the right
 * end, so that looking there first does not help. */
static const struct {
    const char *name;
    const char *pattern;
    const char *end;
} HOSTILE[] = {{"hostile", "*a*a*a*a*a*b", ""}, {"hostile_end", "*a*a*a*a*c*b", "b"}};
enum { HOSTILE_COUNT = 2 };
static const size_t HOSTILE_LENGTHS[] = {64, 128, 512, 4096};
enum { LENGTH_COUNT = 4 };

static inline char (*read_paths(const char *file))[PATH_SIZE] {
    char(*paths)[PATH_SIZE] = calloc(PATH_COUNT, PATH_SIZE);
    FILE *f = fopen(file, "r");
    if (!f || !paths) exit(1);
    for (int i = 0; i < PATH_COUNT; i++) {
        if (!fgets(paths[i], PATH_SIZE, f)) exit(1);
        paths[i][strcspn(paths[i], "\n")] = '\0';
    }
    fclose(f);
    return paths;
}

/* "aaa..." of that length with the end given; the caller's to keep. */
static inline char *hostile_text(size_t len, const char *end) {
    char *text = malloc(len + 1);
    if (!text) exit(1);
    memset(text, 'a', len);
    strcpy(text + len - strlen(end), end);
    return text;
}

/* Measures fn(n, user) for each hostile pattern and length; prepare makes user. */
static inline void measure_hostile(void *(*prepare)(const char *pattern, const char *text),
                                   void (*fn)(long n, void *user)) {
    for (int p = 0; p < HOSTILE_COUNT; p++) {
        for (int i = 0; i < LENGTH_COUNT; i++) {
            char metric[32];
            snprintf(metric, sizeof metric, "%s_%zu", HOSTILE[p].name, HOSTILE_LENGTHS[i]);
            char *text = hostile_text(HOSTILE_LENGTHS[i], HOSTILE[p].end);
            measure(metric, 2000, fn, prepare(HOSTILE[p].pattern, text));
        }
    }
}

#endif
