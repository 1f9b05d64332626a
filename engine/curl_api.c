/* curl_api.c - dlopen and a table of names. */
#include "curl_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* CURLOPT_PROTOCOLS_STR came with 7.85. */
enum { OLDEST_VERSION = 0x075500 };

static struct curl_api api;
static char failure[300]; /* empty: the table is good */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fail(const char *what) {
    snprintf(failure, sizeof failure,
             "HTTP needs libcurl 7.85 or newer (on Debian: apt-get install libcurl4): %s", what);
}

/* dlsym gives an object pointer and POSIX promises that it can hold a function's. */
static int take(void *library, const char *name, size_t offset) {
    void *symbol = dlsym(library, name);
    if (!symbol) {
        char what[100];
        snprintf(what, sizeof what, "libcurl.so.4 has no %s", name);
        fail(what);
        return 0;
    }
    memcpy((char *)&api + offset, &symbol, sizeof symbol);
    return 1;
}

static int take_all(void *library) {
    static const struct {
        const char *name;
        size_t offset;
    } NAMES[] = {
        {"curl_easy_init", offsetof(struct curl_api, easy_init)},
        {"curl_easy_cleanup", offsetof(struct curl_api, easy_cleanup)},
        {"curl_easy_setopt", offsetof(struct curl_api, easy_setopt)},
        {"curl_easy_getinfo", offsetof(struct curl_api, easy_getinfo)},
        {"curl_easy_pause", offsetof(struct curl_api, easy_pause)},
        {"curl_easy_strerror", offsetof(struct curl_api, easy_strerror)},
        {"curl_multi_init", offsetof(struct curl_api, multi_init)},
        {"curl_multi_cleanup", offsetof(struct curl_api, multi_cleanup)},
        {"curl_multi_setopt", offsetof(struct curl_api, multi_setopt)},
        {"curl_multi_add_handle", offsetof(struct curl_api, multi_add_handle)},
        {"curl_multi_remove_handle", offsetof(struct curl_api, multi_remove_handle)},
        {"curl_multi_socket_action", offsetof(struct curl_api, multi_socket_action)},
        {"curl_multi_assign", offsetof(struct curl_api, multi_assign)},
        {"curl_multi_info_read", offsetof(struct curl_api, multi_info_read)},
        {"curl_slist_append", offsetof(struct curl_api, slist_append)},
        {"curl_slist_free_all", offsetof(struct curl_api, slist_free_all)},
    };
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!take(library, NAMES[i].name, NAMES[i].offset)) return 0;
    return 1;
}

static void load(void) {
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fail(dlerror());
        return;
    }
    if (!take_all(library)) return;
    void *symbol = dlsym(library, "curl_version_info");
    curl_version_info_data *(*version_info)(CURLversion) = NULL;
    memcpy(&version_info, &symbol, sizeof symbol);
    api.version = version_info ? version_info(CURLVERSION_NOW) : NULL;
    if (!api.version || api.version->version_num < OLDEST_VERSION) {
        fail("the one found is older");
        return;
    }
    symbol = dlsym(library, "curl_global_init");
    CURLcode (*global_init)(long) = NULL;
    memcpy(&global_init, &symbol, sizeof symbol);
    if (!global_init || global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) fail("it does not start");
}

const struct curl_api *curl_api_get(const char **why) {
    pthread_once(&once, load);
    if (!failure[0]) return &api;
    *why = failure;
    return NULL;
}
