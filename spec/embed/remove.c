/* sandbox/files_directory_remove.c by itself, with somebody who changes the tree between two of its calls: the
 * file is part of this program. */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int unlinkat_watched(int fd, const char *name, int flags);

#define unlinkat unlinkat_watched
#include "../../sandbox/files_directory_remove.c"
#undef unlinkat

enum moment { BEFORE, REFUSED };

static char base[] = "/tmp/harness-lua-remove-XXXXXX";
static int at; /* its descriptor */
static void (*meddle)(enum moment moment, int fd, const char *name, bool is_dir);
static unsigned attempts;

static int unlinkat_watched(int fd, const char *name, int flags) {
    CHECK(++attempts < 100000);
    if (meddle) meddle(BEFORE, fd, name, flags == AT_REMOVEDIR);
    int rc = unlinkat(fd, name, flags), error = errno;
    if (rc != 0 && meddle) meddle(REFUSED, fd, name, flags == AT_REMOVEDIR);
    errno = error;
    return rc;
}

static void make_file(int fd, const char *name) {
    int file = openat(fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(file >= 0 && close(file) == 0);
}

static bool is_there(const char *name) {
    return faccessat(at, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* BASE/out/secret, BASE/tree/x/inner, BASE/tree/other */
static void begin(void (*with)(enum moment, int, const char *, bool)) {
    memcpy(base + sizeof base - 7, "XXXXXX", 6);
    CHECK(mkdtemp(base) != NULL);
    at = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(at >= 0);
    CHECK(mkdirat(at, "out", 0700) == 0 && mkdirat(at, "tree", 0700) == 0);
    CHECK(mkdirat(at, "tree/x", 0700) == 0);
    make_file(at, "out/secret");
    make_file(at, "tree/x/inner");
    make_file(at, "tree/other");
    attempts = 0;
    meddle = with;
}

static void end(void) {
    meddle = NULL;
    CHECK_INT(0, remove_tree(at, "out", false));
    CHECK(close(at) == 0 && rmdir(base) == 0);
}

/* What was seen to be a directory is a link by the time it is opened. */
static void swap(enum moment moment, int fd, const char *name, bool is_dir) {
    if (moment != REFUSED || is_dir || strcmp(name, "x") != 0) return;
    CHECK(renameat(fd, name, at, "moved") == 0 && symlinkat("../out", fd, name) == 0);
    meddle = NULL;
}

static void link_below(void) {
    begin(swap);
    CHECK_INT(0, remove_tree(at, "tree", false));
    CHECK(is_there("out/secret") && is_there("moved/inner") && !is_there("tree"));
    CHECK_INT(0, remove_tree(at, "moved", false));
    end();
}

static void link_at_the_top(void) {
    begin(swap);
    int tree = openat(at, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_INT(0, remove_tree(tree, "x", true));
    CHECK(!is_there("tree/x") && is_there("out/secret") && is_there("moved/inner") &&
          is_there("tree/other"));
    CHECK(close(tree) == 0);
    CHECK_INT(0, remove_tree(at, "moved", false));
    CHECK_INT(0, remove_tree(at, "tree", false));
    end();
}

/* Whenever it is empty, there is a new file. */
static void refill(enum moment moment, int fd, const char *name, bool is_dir) {
    (void)fd;
    if (moment == BEFORE && is_dir && strcmp(name, "tree") == 0) make_file(at, "tree/new");
}

static void never_empty(void) {
    begin(refill);
    CHECK_INT(ENOTEMPTY, remove_tree(at, "tree", false));
    meddle = NULL;
    CHECK_INT(0, remove_tree(at, "tree", false));
    end();
}

int main(int argc, char **argv) {
    static const struct check_case CASES[] = {
        {"link_below", link_below},
        {"link_at_the_top", link_at_the_top},
        {"never_empty", never_empty},
        {NULL, NULL},
    };
    return check_main(argc, argv, CASES);
}
