/* mock_openai.c - a model server that costs next to nothing: it answers every POST with the same
 * stream of chat completion chunks, on 127.0.0.1, in one thread on epoll.
 *
 *     mock_openai [-p PORT] [-n EVENTS] [-d MICROSECONDS]
 *
 * PORT 0 (the default) is any free one; "listening PORT" is printed. EVENTS text deltas (200) of
 * about 20 bytes, each in an HTTP chunk of its own, are sent at once, or with -d one every so many
 * microseconds on each connection. GET answers with what was served so far. It ends on SIGTERM, and
 * with its parent. For measuring on the loopback only: it knows just enough of HTTP. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

enum { MOST_CONNECTIONS = 4096, MOST_REQUEST = 65536, MOST_EVENTS = 100000 };

struct connection {
    char request[MOST_REQUEST];
    size_t have;
    bool answering;
    int part;    /* the next part of the answer */
    size_t sent; /* bytes of it */
    double due;  /* when the next part may go, with -d */
};

static struct connection *connections[MOST_CONNECTIONS]; /* by descriptor */
static char *answer;
static size_t *ends; /* ends[i]: where part i ends in answer */
static int parts;
static double delay_us;
static long long requests, sent_bytes;
static int poll_fd;

static size_t append(size_t at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(answer + at, 512, format, args);
    va_end(args);
    return at + (size_t)n;
}

static size_t append_event(size_t at, const char *data) {
    at = append(at, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + 8, data);
    ends[parts++] = at;
    return at;
}

static bool make_answer(int events) {
    static const char *const words[] = {"the quick brown fox ", "jumps over the lazy ",
                                        "dog and then it runs ", "home to sleep a lot. "};
    static const char head[] =
        "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\","
        "\"created\":1700000000,\"model\":\"mock\",\"choices\":[{\"index\":0,"
        "\"delta\":";
    answer = malloc((size_t)(events + 8) * 512);
    ends = calloc((size_t)events + 8, sizeof *ends);
    if (!answer || !ends) return false;
    char data[400];
    size_t at = append(0, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n");
    snprintf(data, sizeof data,
             "%s{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}", head);
    at = append_event(at, data);
    for (int i = 0; i < events; i++) {
        snprintf(data, sizeof data, "%s{\"content\":\"%s\"},\"finish_reason\":null}]}", head,
                 words[i & 3]);
        at = append_event(at, data);
    }
    snprintf(data, sizeof data, "%s{},\"finish_reason\":\"stop\"}]}", head);
    at = append_event(at, data);
    at = append_event(at, "[DONE]");
    ends[parts - 1] = append(at, "0\r\n\r\n");
    return true;
}

static void hang_up(int fd) {
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

static void want(int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &event);
}

/* Sends what may go now. */
static void pump(int fd) {
    struct connection *c = connections[fd];
    while (c->answering) {
        if (delay_us > 0 && c->due > wall_us()) return;
        size_t end = delay_us > 0 ? ends[c->part] : ends[parts - 1];
        ssize_t n = send(fd, answer + c->sent, end - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            want(fd, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) {
            hang_up(fd);
            return;
        }
        c->sent += (size_t)n;
        sent_bytes += n;
        if (c->sent < end) continue;
        c->part++;
        c->due = wall_us() + delay_us;
        if (c->sent == ends[parts - 1]) {
            c->answering = false;
            want(fd, EPOLLIN);
        }
    }
}

static void send_statistics(int fd) {
    char body[128], reply[256];
    snprintf(body, sizeof body, "{\"requests\":%lld,\"bytes\":%lld,\"cpu_us\":%.0f}", requests,
             sent_bytes, cpu_us());
    int n = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
    if (send(fd, reply, (size_t)n, MSG_NOSIGNAL) != n) hang_up(fd);
}

/* Answers the request at the front of the buffer, once all of it is there. */
static void serve(int fd) {
    struct connection *c = connections[fd];
    c->request[c->have] = '\0';
    char *end = strstr(c->request, "\r\n\r\n");
    if (!end || c->answering) return;
    size_t body = 0;
    char *length = strcasestr(c->request, "\r\ncontent-length:");
    if (length && length < end) body = strtoul(length + 17, NULL, 10);
    size_t whole = (size_t)(end + 4 - c->request) + body;
    if (c->have < whole) return;
    bool post = strncmp(c->request, "POST ", 5) == 0;
    memmove(c->request, c->request + whole, c->have - whole);
    c->have -= whole;
    if (!post) {
        send_statistics(fd);
        return;
    }
    requests++;
    c->answering = true;
    c->part = 0;
    c->sent = 0;
    c->due = 0;
    pump(fd);
}

static void take_connections(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = fd < MOST_CONNECTIONS ? calloc(1, sizeof *c) : NULL;
        if (!c) {
            close(fd);
            continue;
        }
        connections[fd] = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void read_request(int fd) {
    struct connection *c = connections[fd];
    ssize_t n;
    while ((n = recv(fd, c->request + c->have, MOST_REQUEST - 1 - c->have, 0)) > 0)
        c->have += (size_t)n;
    if (n == 0 || errno != EAGAIN) hang_up(fd);
    else serve(fd);
}

/* With -d: sends what is due; returns milliseconds until something is. */
static int pump_due(void) {
    double now = wall_us(), next = now + 1e6;
    for (int fd = 0; fd < MOST_CONNECTIONS; fd++) {
        struct connection *c = connections[fd];
        if (!c || !c->answering) continue;
        if (c->due <= now) pump(fd);
        c = connections[fd];
        if (c && c->answering && c->due < next) next = c->due;
    }
    return next <= now ? 0 : (int)((next - now + 999) / 1000);
}

static int open_listener(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (void *)&address, size) != 0 || listen(fd, 1024) != 0) return -1;
    getsockname(fd, (void *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    int port = 0, events = 200, option;
    while ((option = getopt(argc, argv, "p:n:d:")) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'n') events = atoi(optarg);
        else if (option == 'd') delay_us = atof(optarg);
        else return 2;
    }
    if (events < 1 || events > MOST_EVENTS || !make_answer(events)) return 2;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    struct rlimit files = {.rlim_cur = MOST_CONNECTIONS, .rlim_max = MOST_CONNECTIONS};
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = open_listener(port);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ready[256], event = {.events = EPOLLIN, .data.fd = listener};
    if (listener < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event) != 0) {
        perror("mock_openai");
        return 1;
    }
    for (;;) {
        int n = epoll_wait(poll_fd, ready, 256, delay_us > 0 ? pump_due() : -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) take_connections(fd);
            else if (connections[fd] && ready[i].events & EPOLLOUT) pump(fd);
            else if (connections[fd]) read_request(fd);
        }
    }
}
