/* embed_seams.c - harness.h: HTTP and child processes by functions of the host's, as a driver of
 * engine/http.h and a starter of engine/process.h. A harness_http_transfer is a struct http_transfer, a
 * harness_child a struct process. */
#include <errno.h>
#include <string.h>

#include "embed.h"

/* ---- HTTP ---------------------------------------------------------------------------------- */

static void *http_start(void *self, const struct http_request *request, struct http_transfer *t,
                        struct http_failure *failure) {
    const harness_http *http = self;
    harness_http_request given = {.size = sizeof given,
                                  .method = request->method ? request->method
                                            : request->body ? "POST"
                                                            : "GET",
                                  .url = request->url,
                                  .headers = request->headers,
                                  .header_count = request->header_count,
                                  .body = request->body,
                                  .body_len = request->body_len};
    void *handle = http->start(http->user, &given, (harness_http_transfer *)t);
    if (!handle)
        http_failure_set(failure, HTTP_EUNAVAILABLE,
                         "the host's transport did not start the request");
    return handle; // cppcheck-suppress returnDanglingLifetime ; start borrows it
}

static void http_stop(void *self, void *handle) {
    const harness_http *http = self;
    http->stop(http->user, handle);
}

static void http_resume(void *self, void *handle) {
    const harness_http *http = self;
    if (http->resume) http->resume(http->user, handle);
}

static void http_nothing(void *self) {
    (void)self;
}

/* A transfer that has failed in our eyes: the host reports nothing more, so its end is told here. */
static int ended(struct http_transfer *t) {
    http_on_end(t, HTTP_ENETWORK, NULL);
    return -1;
}

int harness_http_head(harness_http_transfer *transfer, int status, const char *const *headers,
                      size_t header_count) {
    struct http_transfer *t = (struct http_transfer *)transfer;
    if (http_on_connected(t) == HTTP_STOP || http_on_status(t, status) == HTTP_STOP)
        return ended(t);
    for (size_t i = 0; i < header_count; i++) {
        const char *name = headers[2 * i], *value = headers[2 * i + 1];
        if (http_on_header(t, name, strlen(name), value, strlen(value)) == HTTP_STOP)
            return ended(t);
    }
    return http_on_head_end(t) == HTTP_STOP ? ended(t) : 0;
}

int harness_http_body(harness_http_transfer *transfer, const char *bytes, size_t len) {
    struct http_transfer *t = (struct http_transfer *)transfer;
    switch (http_on_body(t, bytes, len)) {
    case HTTP_GO_ON: return 0;
    case HTTP_PAUSE: return 1;
    case HTTP_STOP: break;
    }
    return ended(t);
}

void harness_http_end(harness_http_transfer *transfer, const char *message) {
    http_on_end((struct http_transfer *)transfer, message ? HTTP_ENETWORK : HTTP_OK, message);
}

/* ---- processes ----------------------------------------------------------------------------- */

static int process_start(void *self, uv_loop_t *uv, const struct process_options *options,
                         const int fds[5], struct process *process, int *pid, void **handle) {
    (void)uv;
    if (options->is_jail || options->more_count || options->other_user) return UV_ENOTSUP;
    const harness_process *host = self;
    harness_process_request request = {.size = sizeof request,
                                       .file = options->file,
                                       .args = options->args,
                                       .env = options->env,
                                       .cwd = options->cwd,
                                       .fds = {fds[0], fds[1], fds[2]}};
    int number = host->start(host->user, &request, (harness_child *)process, pid, handle);
    return number ? uv_translate_sys_error(number) : 0;
}

static void process_signal(void *self, void *handle, int signum) {
    const harness_process *host = self;
    host->signal(host->user, handle, signum);
}

static void process_release(void *self, void *handle) {
    const harness_process *host = self;
    host->release(host->user, handle);
}

void harness_process_exited(harness_child *child, int exit_code, int signal) {
    process_exited((struct process *)child, exit_code, signal);
}

const char *embed_seams_problem(const harness_options *options) {
    const harness_http *http = options->http;
    const harness_process *process = options->process;
    if (http && (http->size < sizeof *http || !http->start || !http->stop))
        return "options.http needs its size, start and stop";
    if (process && (process->size < sizeof *process || !process->start || !process->signal ||
                    !process->release))
        return "options.process needs its size, start, signal and release";
    return NULL;
}

void embed_seams(harness_engine *engine, const harness_options *options) {
    if (options->http) {
        engine->http = *options->http;
        engine->http_driver = (struct http_driver){.self = &engine->http,
                                                   .start = http_start,
                                                   .stop = http_stop,
                                                   .resume = http_resume,
                                                   .free = http_nothing};
        engine->host.http = &engine->http_driver;
    }
    if (options->process) {
        engine->process = *options->process;
        engine->process_starter = (struct process_starter){.self = &engine->process,
                                                           .start = process_start,
                                                           .signal = process_signal,
                                                           .told_from_outside = true,
                                                           .release = process_release};
        engine->host.process = &engine->process_starter;
    }
}
