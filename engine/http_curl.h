/* http_curl.h - what the files of the HTTP driver on libcurl share. Others see http.h only.
 *
 * http_curl.c is the driver and a transfer's life; http_curl_setup.c tells curl what to send, how
 * and by which way. */
#ifndef HARNESS_ENGINE_HTTP_CURL_H
#define HARNESS_ENGINE_HTTP_CURL_H

#include "curl_api.h"
#include "curl_loop.h"
#include "http.h"
#include "proxy.h"
#include "resolve.h"
#include "url.h"

enum { CURL_TRANSFER_NAMES = 2 };

struct curl_driver {
    struct loop *loop;
    const struct curl_api *curl;
    struct curl_loop *connections;
    struct resolver *resolver;
    struct proxy_rules rules;
    char *ca_file; /* NULL: libcurl's own */
    char *ca_dir;
    struct curl_transfer *connected; /* those that have a connection */
};

/* A name that is to be resolved before the transfer can start. */
struct curl_name {
    struct lookup lookup;
    char host[URL_HOST_MAX + 1];
    unsigned port;
};

struct curl_transfer {
    struct curl_driver *driver;
    struct http_transfer *owner;
    CURL *easy;
    struct curl_slist *headers;
    struct curl_slist *addresses;
    struct curl_name names[CURL_TRANSFER_NAMES];
    int name_count;
    int names_missing;
    bool started; /* on the multi handle */
    bool connected;
    bool paused;
    int local_port, remote_port;             /* which connection, once connected */
    struct curl_transfer *next, **prev_next; /* among the driver's connected ones */
    char error[CURL_ERROR_SIZE];
};

/* Appends a copy of text; false: no memory, the list is as it was. */
bool curl_list_add(const struct curl_api *curl, struct curl_slist **list, const char *text);

/* Sets all options of transfer->easy but the callbacks, and notes the names to be resolved. False:
 * failure is filled in. */
bool curl_transfer_setup(struct curl_transfer *transfer, const struct http_request *request,
                         struct http_failure *failure);

#endif
