/* measure.h - what the C programs of the bench share: batches, their median, and the line that
 * run.lua reads: `RESULT <metric> wall=<us per operation> cpu=<us per operation>`. */
#ifndef HARNESS_BENCH_MEASURE_H
#define HARNESS_BENCH_MEASURE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { BATCHES = 7 };

static inline double wall_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* User and system time of this process. */
static inline double cpu_us(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static inline int by_size(const void *a, const void *b) {
    double x = *(const double *)a - *(const double *)b;
    return x < 0 ? -1 : x > 0;
}

static inline double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_size);
    return values[count / 2];
}

/* Runs fn, which does n operations, once to warm up and then BATCHES times. */
static inline void measure(const char *metric, long n, void (*fn)(long n, void *user), void *user) {
    double wall[BATCHES], cpu[BATCHES];
    fn(n, user);
    for (int i = 0; i < BATCHES; i++) {
        double w = wall_us(), c = cpu_us();
        fn(n, user);
        wall[i] = (wall_us() - w) / (double)n;
        cpu[i] = (cpu_us() - c) / (double)n;
    }
    printf("RESULT %s wall=%.6g cpu=%.6g\n", metric, median(wall, BATCHES), median(cpu, BATCHES));
}

#endif
