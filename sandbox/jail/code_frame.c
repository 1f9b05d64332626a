/* code_frame.c - the message handed out stays in the buffer until the next call, which moves what
 * follows it to the front. Our peer answers one message at a time, so that is mostly nothing. */
#include "code_frame.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 };

void frame_init(struct frame_reader *reader, size_t max) {
    *reader = (struct frame_reader){0};
    buf_init(&reader->in, max);
}

void frame_free(struct frame_reader *reader) {
    buf_free(&reader->in);
}

bool frame_take(struct frame_reader *reader, const char **text, size_t *len) {
    struct buf *in = &reader->in;
    buf_consume(in, reader->taken);
    reader->taken = 0;
    const char *newline = in->len > reader->scanned
                              ? memchr(in->data + reader->scanned, '\n', in->len - reader->scanned)
                              : NULL;
    if (!newline) {
        reader->scanned = in->len;
        return false;
    }
    *text = in->data;
    *len = (size_t)(newline - in->data);
    reader->taken = *len + 1;
    reader->scanned = 0;
    return true;
}

enum frame_status frame_feed(struct frame_reader *reader, const char *bytes, size_t len) {
    int rc = buf_add(&reader->in, bytes, len);
    if (rc == BUF_ETOOBIG) return FRAME_TOO_BIG;
    return rc == BUF_OK ? FRAME_OK : FRAME_FAILED;
}

enum frame_status frame_read(struct frame_reader *reader, int fd, const char **text, size_t *len) {
    char chunk[CHUNK];
    while (!frame_take(reader, text, len)) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return FRAME_FAILED;
        if (n == 0) return reader->in.len > 0 ? FRAME_CUT : FRAME_END;
        enum frame_status status = frame_feed(reader, chunk, (size_t)n);
        if (status != FRAME_OK) return status;
    }
    return FRAME_OK;
}

bool frame_write(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}
