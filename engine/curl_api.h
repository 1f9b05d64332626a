/* curl_api.h - libcurl, loaded at its first use.
 *
 *     const char *why;
 *     const struct curl_api *curl = curl_api_get(&why);
 *     if (!curl) ...                                  // why: a sentence for a person
 *     CURL *easy = curl->easy_init();
 *
 * Linking libcurl costs every start of the program some 10 ms and 10 MB, for it drags in TLS,
 * Kerberos, LDAP and more; a program that makes no HTTP call shall not pay for that.
 *
 * curl_global_init may run once per process, so this table is the one piece of process-wide state
 * in the engine: filled exactly once, whichever thread comes first, and constant from then on. The
 * library is never unloaded (its threads and OpenSSL's handlers may outlive us). */
#ifndef HARNESS_ENGINE_CURL_API_H
#define HARNESS_ENGINE_CURL_API_H

/* The type-checking macros are named like the functions that the table holds. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

struct curl_api {
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *easy);
    CURLcode (*easy_setopt)(CURL *easy, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *easy, CURLINFO info, ...);
    CURLcode (*easy_pause)(CURL *easy, int mask);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_socket_action)(CURLM *multi, curl_socket_t fd, int events, int *running);
    CURLMcode (*multi_assign)(CURLM *multi, curl_socket_t fd, void *data);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
    const curl_version_info_data *version;
};

/* The table, or NULL with *why set to a static sentence: libcurl is missing or too old. */
const struct curl_api *curl_api_get(const char **why);

#endif
