/* curl_loop.h - one curl multi handle that lives on the engine's uv loop.
 *
 *     struct curl_loop *connections = curl_loop_new(loop, curl, on_done);
 *     curl_loop_start(connections, easy);       // its CURLOPT_PRIVATE comes back in on_done
 *     curl_loop_stop(connections, easy);        // not from inside a curl callback
 *     curl_loop_free(connections);              // after all transfers were stopped
 *
 * Knows nothing of HTTP. One thread only. */
#ifndef HARNESS_ENGINE_CURL_LOOP_H
#define HARNESS_ENGINE_CURL_LOOP_H

#include "curl_api.h"
#include "loop.h"

struct curl_loop;

/* The transfer has ended and was taken off the multi handle. Called outside of curl's callbacks:
 * may start and stop transfers and free the easy handle. */
typedef void (*curl_done_fn)(void *private_data, CURL *easy, CURLcode result);

/* NULL: no memory. */
struct curl_loop *curl_loop_new(struct loop *loop, const struct curl_api *curl, curl_done_fn fn);
/* Closes all connections. */
void curl_loop_free(struct curl_loop *self);

/* Adds and starts. Returns false when curl refuses (no memory). */
bool curl_loop_start(struct curl_loop *self, CURL *easy);
/* Takes it off; an unfinished one loses its connection (or its HTTP/2 stream). on_done is not
 * called. */
void curl_loop_stop(struct curl_loop *self, CURL *easy);

/* Sockets that curl holds open, idle ones included. */
size_t curl_loop_sockets(const struct curl_loop *self);

#endif
