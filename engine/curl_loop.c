/* curl_loop.c - curl says which sockets it waits for, libuv tells when they are ready.
 *
 * curl is not reentrant: inside its callbacks nothing of it may be called but multi_assign. The
 * callbacks here only start and stop polls and the timer; socket_action runs from uv callbacks.
 *
 * curl's own timer stands on libuv's clock and not on the engine's: curl reads the real clock when
 * it is called, so a clock turned by hand would only make it wait for ever. Our own limits (connect,
 * first byte, ...) are on the engine's clock. */
#include "curl_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections kept for reuse; more may be open at once, then the oldest idle one is closed. */
enum { MAX_CONNECTIONS = 512 };

struct curl_loop {
    struct loop *loop;
    const struct curl_api *curl;
    CURLM *handle;
    uv_timer_t timer;
    curl_done_fn fn;
    size_t transfers;
    size_t sockets;
};

struct socket_poll {
    uv_poll_t uv;
    struct curl_loop *owner;
    curl_socket_t fd;
    int events;
};

/* Tells about every transfer that has ended; on_done may end or start others meanwhile. */
static void report_done(struct curl_loop *self) {
    int left;
    CURLMsg *message;
    while ((message = self->curl->multi_info_read(self->handle, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        CURL *easy = message->easy_handle;
        CURLcode result = message->data.result; /* the message dies with remove_handle */
        char *private_data = NULL;
        self->curl->easy_getinfo(easy, CURLINFO_PRIVATE, &private_data);
        curl_loop_stop(self, easy);
        self->fn(private_data, easy, result);
    }
}

static void act(struct curl_loop *self, curl_socket_t fd, int events) {
    int running;
    self->curl->multi_socket_action(self->handle, fd, events, &running);
    report_done(self);
}

/* ---- sockets ------------------------------------------------------------------------------- */

static void on_socket_ready(uv_poll_t *handle, int status, int events);

static int poll_start(struct socket_poll *poll) {
    return uv_poll_start(&poll->uv, poll->events, on_socket_ready);
}

/* Of an error curl is told as if everything were ready: it then reads what had come before, and
 * learns the reason from the socket. Told of an error, it would do neither. libuv stops a poll that
 * had an error, so it is started again if curl keeps it. */
static void on_socket_ready(uv_poll_t *handle, int status, int events) {
    struct socket_poll *poll = handle->data;
    int flags = 0;
    if (status < 0 || (events & UV_READABLE)) flags |= CURL_CSELECT_IN;
    if (status < 0 || (events & UV_WRITABLE)) flags |= CURL_CSELECT_OUT;
    act(poll->owner, poll->fd, flags);
    bool stopped = !uv_is_closing((uv_handle_t *)handle) && !uv_is_active((uv_handle_t *)handle);
    if (stopped && poll_start(poll) != 0) act(poll->owner, poll->fd, CURL_CSELECT_ERR);
}

static void on_poll_closed(uv_handle_t *handle) {
    free(handle->data);
}

static struct socket_poll *poll_new(struct curl_loop *self, curl_socket_t fd) {
    struct socket_poll *poll = calloc(1, sizeof *poll);
    if (!poll) return NULL;
    poll->owner = self;
    poll->fd = fd;
    poll->uv.data = poll;
    if (uv_poll_init_socket(loop_uv(self->loop), &poll->uv, fd) != 0) {
        free(poll);
        return NULL;
    }
    self->curl->multi_assign(self->handle, fd, poll);
    return poll;
}

/* CURLMOPT_SOCKETFUNCTION; -1 makes the transfer fail. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_data) {
    (void)easy;
    struct curl_loop *self = user;
    struct socket_poll *poll = socket_data;
    if (what == CURL_POLL_REMOVE) {
        if (!poll) return 0;
        self->curl->multi_assign(self->handle, fd, NULL);
        uv_poll_stop(&poll->uv);
        uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
        return 0;
    }
    if (!poll) poll = poll_new(self, fd);
    if (!poll) return -1;
    poll->events = 0;
    if (what & CURL_POLL_IN) poll->events |= UV_READABLE;
    if (what & CURL_POLL_OUT) poll->events |= UV_WRITABLE;
    return poll_start(poll) == 0 ? 0 : -1;
}

/* ---- the timer ----------------------------------------------------------------------------- */

static void on_timeout(uv_timer_t *timer) {
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* CURLMOPT_TIMERFUNCTION */
static int on_timer(CURLM *handle, long timeout_ms, void *user) {
    (void)handle;
    struct curl_loop *self = user;
    if (timeout_ms < 0) return uv_timer_stop(&self->timer) == 0 ? 0 : -1;
    uv_update_time(loop_uv(self->loop)); /* it stands still while Lua code runs */
    return uv_timer_start(&self->timer, on_timeout, (uint64_t)timeout_ms, 0) == 0 ? 0 : -1;
}

/* ---- transfers ----------------------------------------------------------------------------- */

/* Child processes must not inherit a socket: a connection that we close would stay open in them. */
static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *addr) {
    (void)purpose;
    struct curl_loop *self = user;
    int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
    if (fd < 0) return CURL_SOCKET_BAD;
    self->sockets++;
    return fd;
}

static int on_close_socket(void *user, curl_socket_t fd) {
    struct curl_loop *self = user;
    self->sockets--;
    return close(fd);
}

bool curl_loop_start(struct curl_loop *self, CURL *easy) {
    const struct curl_api *curl = self->curl;
    bool ok = curl->easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket) == CURLE_OK &&
              curl->easy_setopt(easy, CURLOPT_OPENSOCKETDATA, self) == CURLE_OK &&
              curl->easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket) == CURLE_OK &&
              curl->easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, self) == CURLE_OK;
    if (!ok || curl->multi_add_handle(self->handle, easy) != CURLM_OK) return false;
    if (self->transfers++ == 0) uv_ref((uv_handle_t *)&self->timer);
    return true;
}

void curl_loop_stop(struct curl_loop *self, CURL *easy) {
    self->curl->multi_remove_handle(self->handle, easy);
    if (--self->transfers) return;
    uv_unref((uv_handle_t *)&self->timer); /* what is left is upkeep of idle connections */
}

size_t curl_loop_sockets(const struct curl_loop *self) {
    return self->sockets;
}

static bool set_up(struct curl_loop *self) {
    const struct curl_api *curl = self->curl;
    CURLM *handle = self->handle;
    return curl->multi_setopt(handle, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
           curl->multi_setopt(handle, CURLMOPT_SOCKETDATA, self) == CURLM_OK &&
           curl->multi_setopt(handle, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
           curl->multi_setopt(handle, CURLMOPT_TIMERDATA, self) == CURLM_OK &&
           curl->multi_setopt(handle, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX) == CURLM_OK &&
           curl->multi_setopt(handle, CURLMOPT_MAXCONNECTS, (long)MAX_CONNECTIONS) == CURLM_OK;
}

struct curl_loop *curl_loop_new(struct loop *loop, const struct curl_api *curl, curl_done_fn fn) {
    struct curl_loop *self = calloc(1, sizeof *self);
    if (!self) return NULL;
    self->loop = loop;
    self->curl = curl;
    self->fn = fn;
    self->timer.data = self;
    self->handle = curl->multi_init();
    if (!self->handle || !set_up(self)) {
        if (self->handle) curl->multi_cleanup(self->handle);
        free(self);
        return NULL;
    }
    uv_timer_init(loop_uv(loop), &self->timer);
    uv_unref((uv_handle_t *)&self->timer);
    return self;
}

static void on_timer_closed(uv_handle_t *handle) {
    free(handle->data);
}

void curl_loop_free(struct curl_loop *self) {
    if (!self) return;
    self->curl->multi_cleanup(self->handle); /* may still call the callbacks */
    uv_close((uv_handle_t *)&self->timer, on_timer_closed);
}
