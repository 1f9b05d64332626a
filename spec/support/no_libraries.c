/* no_libraries.c - a dlopen for specs, put before the C library's by LD_PRELOAD: there is no libcurl and
 * no libedit. */
#include <dlfcn.h>
#include <string.h>

void *dlopen(const char *name, int flags) {
    void *(*next)(const char *, int) = NULL;
    void *symbol = dlsym(RTLD_NEXT, "dlopen");
    memcpy(&next, &symbol, sizeof symbol);
    if (name && (strstr(name, "libcurl") || strstr(name, "libedit"))) name = "/no/library.so";
    return next(name, flags);
}
