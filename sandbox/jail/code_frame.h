/* code_frame.h - messages over a pipe: each is one line, JSON text that ends with a newline.
 *
 *     struct frame_reader in;
 *     frame_init(&in, 16 << 20);
 *     while (frame_read(&in, 0, &text, &len) == FRAME_OK) ...   // waits; valid until the next call
 *     frame_free(&in);
 *
 * JSON has no raw newline in it, so a line is a message, whoever wrote it and however the pipe cut it. */
#ifndef HARNESS_JAIL_CODE_FRAME_H
#define HARNESS_JAIL_CODE_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "../../engine/buf.h"

enum frame_status {
    FRAME_OK,
    FRAME_END,     /* the other side has closed the pipe, between two messages */
    FRAME_CUT,     /* ... or in the middle of one */
    FRAME_TOO_BIG, /* more than the maximum without a newline */
    FRAME_FAILED   /* the system call failed, or memory is used up */
};

struct frame_reader {
    struct buf in;  /* what has come: the message handed out last, then what follows it */
    size_t taken;   /* bytes of the message handed out last, with its newline */
    size_t scanned; /* there is no newline before this */
};

/* max: the longest message, with its newline. */
void frame_init(struct frame_reader *reader, size_t max);
void frame_free(struct frame_reader *reader);

/* The next message of what has come, without its newline; false: it is not complete yet. Valid
 * until the next call with this reader. */
bool frame_take(struct frame_reader *reader, const char **text, size_t *len);

/* Adds bytes that have come; FRAME_OK, FRAME_TOO_BIG or FRAME_FAILED (nothing was added). */
enum frame_status frame_feed(struct frame_reader *reader, const char *bytes, size_t len);

/* Waits for the next message of fd. */
enum frame_status frame_read(struct frame_reader *reader, int fd, const char **text, size_t *len);

/* Writes all of it; false: nobody reads any more. */
bool frame_write(int fd, const char *bytes, size_t len);

#endif
