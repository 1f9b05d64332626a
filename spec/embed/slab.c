/* engine/slab.c by itself, with the sanitizers too: the file is part of this program. */
#include "check.h"

#define SLAB_WATCHED 0
#include "../../engine/slab.c"

#include <unistd.h>

enum { HELD = 4000, BIGGEST = 3000 };

struct held {
    unsigned char *block;
    size_t size;
    unsigned char mark;
};

static unsigned seed = 1;

static size_t random_below(size_t n) {
    seed = seed * 1103515245u + 12345u;
    return (size_t)(seed >> 8) % n;
}

static void fill(struct held *held) {
    memset(held->block, held->mark, held->size);
}

static void check_bytes(const struct held *held, size_t n) {
    for (size_t i = 0; i < n; i++) CHECK(held->block[i] == held->mark);
}

/* Mostly small ones, as Lua asks for them. */
static size_t random_size(void) {
    return 1 + random_below(random_below(4) ? 200 : BIGGEST);
}

static void resize(struct slabs *slabs, struct held *held, size_t size) {
    size_t kept = held->size < size ? held->size : size;
    held->block = slabs_allocate(slabs, held->block, held->size, size);
    held->size = size;
    if (!size) {
        CHECK(!held->block);
        return;
    }
    CHECK(held->block && (uintptr_t)held->block % 8 == 0);
    check_bytes(held, kept);
    held->mark = (unsigned char)random_below(256);
    fill(held);
}

/* Nobody's bytes are anybody else's, whatever is made, resized and freed in between. */
static void random_blocks(void) {
    const char *given = getenv("HARNESS_SPEC_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    printf("seed %u\n", seed);
    struct slabs *slabs = slabs_new();
    static struct held held[HELD];
    for (int i = check_count(2000000, 20000000); i > 0; i--) {
        struct held *one = &held[random_below(HELD)];
        if (one->block) check_bytes(one, one->size);
        resize(slabs, one, one->block && random_below(2) ? 0 : random_size());
    }
    for (size_t i = 0; i < HELD; i++) resize(slabs, &held[i], 0);
    slabs_free(slabs);
}

/* Each size has a class that holds it, and no greater one than it needs. */
static void sizes(void) {
    for (size_t size = 1; size <= SLAB_BLOCK_MAX; size++) {
        uint32_t class = class_of(size);
        CHECK(class < CLASSES && class_size(class) >= size);
        CHECK(class == 0 || class_size(class - 1) < size);
    }
    CHECK(class_size(CLASSES - 1) == SLAB_BLOCK_MAX);
}

static long resident_kib(void) {
    long pages = 0, resident = 0;
    FILE *in = fopen("/proc/self/statm", "r");
    CHECK(in && fscanf(in, "%ld %ld", &pages, &resident) == 2);
    fclose(in);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

enum { MANY = 400000 };
static void *many[MANY];

static void make_many(struct slabs *slabs, size_t size) {
    for (int i = 0; i < MANY; i++) {
        many[i] = slabs_allocate(slabs, NULL, 0, size);
        CHECK(many[i]);
        memset(many[i], 1, size);
    }
}

static void free_many(struct slabs *slabs, size_t size, int step) {
    for (int first = 0; first < step; first++)
        for (int i = first; i < MANY; i += step) slabs_allocate(slabs, many[i], size, 0);
}

/* What a peak took goes back to the system, and serves other sizes without new regions. */
static void gives_back(void) {
    struct slabs *slabs = slabs_new();
    memset(many, 1, sizeof many);
    long before = resident_kib();
    make_many(slabs, 64);
    long at_peak = resident_kib() - before;
    CHECK(at_peak > MANY * 64 / 1024 * 9 / 10 && at_peak < MANY * 64 / 1024 * 11 / 10);
    free_many(slabs, 64, 7);
    long after = resident_kib() - before;
    CHECK(after < at_peak / 5);
    const struct region *newest = slabs->regions;
    make_many(slabs, 56);
    CHECK(slabs->regions == newest);
    free_many(slabs, 56, 3);
    slabs_free(slabs);
    CHECK(resident_kib() - before < 1024);
}

/* A block that stays in its class is not moved; a fresh state asks for nothing. */
static void stays(void) {
    struct slabs *slabs = slabs_new();
    CHECK(!slabs->regions);
    CHECK(!slabs_allocate(slabs, NULL, 5, 0));
    char *block = slabs_allocate(slabs, NULL, 0, 33);
    CHECK(slabs_allocate(slabs, block, 33, 40) == block);
    char *moved = slabs_allocate(slabs, block, 40, 41);
    CHECK(moved && moved != block);
    CHECK(slabs_allocate(slabs, NULL, 0, 40) == block);
    slabs_allocate(slabs, block, 40, 0);
    slabs_allocate(slabs, moved, 41, 0);
    slabs_free(slabs);
    slabs_free(NULL);
}

int main(int argc, char **argv) {
    static const struct check_case CASES[] = {
        {"sizes", sizes},
        {"random_blocks", random_blocks},
        {"gives_back", gives_back},
        {"stays", stays},
        {NULL, NULL},
    };
    return check_main(argc, argv, CASES);
}
