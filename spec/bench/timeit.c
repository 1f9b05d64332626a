/* timeit.c - runs a command several times, one after the other, and prints the median of its wall
 * time, its processor time (user and system) and the most memory it had.
 *
 *     timeit METRIC RUNS COMMAND [ARGUMENT]...
 *
 * What the command writes is thrown away. One run more goes first, to warm the caches. */
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

static double seconds_us(struct timeval t) {
    return (double)t.tv_sec * 1e6 + (double)t.tv_usec;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: timeit METRIC RUNS COMMAND [ARGUMENT]...\n");
        return 2;
    }
    enum { MOST = 101 };
    double wall[MOST], cpu[MOST], peak[MOST];
    int runs = atoi(argv[2]);
    if (runs < 1 || runs > MOST) return 2;
    for (int i = -1; i < runs; i++) {
        double start = wall_us();
        pid_t pid = fork();
        if (pid == 0) {
            int null = open("/dev/null", O_RDWR);
            dup2(null, 0);
            dup2(null, 1);
            dup2(null, 2);
            execvp(argv[3], argv + 3);
            _exit(127);
        }
        int status;
        struct rusage used;
        if (pid < 0 || wait4(pid, &status, 0, &used) != pid) return 1;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "timeit: %s ended with status %d\n", argv[3], status);
            return 1;
        }
        if (i < 0) continue;
        wall[i] = wall_us() - start;
        cpu[i] = seconds_us(used.ru_utime) + seconds_us(used.ru_stime);
        peak[i] = (double)used.ru_maxrss / 1024;
    }
    printf("RESULT %s wall=%.6g cpu=%.6g\n", argv[1], median(wall, runs), median(cpu, runs));
    printf("RESULT %s_peak value=%.6g\n", argv[1], median(peak, runs));
    return 0;
}
