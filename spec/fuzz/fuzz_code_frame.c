/* fuzz_code_frame.c - the messages of a pipe are the same however its bytes come: they are what a search
 * for newlines in the whole text finds, up to where a message is longer than the limit.
 *
 * Input: a byte for the limit, two for the sizes of the pieces, then the bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../sandbox/jail/code_frame.h"

enum { HEAD = 3 };

static void check(bool ok) {
    if (!ok) abort();
}

/* The text as it comes, and how much of it the reader has given back as messages. */
struct text {
    const char *bytes;
    size_t fed, given;
};

/* Every message that is complete, and no other one. */
static void take_all(struct frame_reader *reader, struct text *text) {
    const char *message;
    size_t len;
    for (;;) {
        size_t left = text->fed - text->given;
        const char *newline = left ? memchr(text->bytes + text->given, '\n', left) : NULL;
        check(frame_take(reader, &message, &len) == (newline != NULL));
        if (!newline) return;
        check(len == (size_t)(newline - (text->bytes + text->given)));
        check(memcmp(message, text->bytes + text->given, len) == 0);
        text->given += len + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEAD) return 0;
    size_t max = data[0] + 1U, pieces[2] = {data[1] + 1U, data[2] + 1U};
    struct text text = {.bytes = (const char *)data + HEAD};
    struct frame_reader reader;
    frame_init(&reader, max);
    for (size_t end = size - HEAD, i = 0; text.fed < end; i++) {
        size_t piece = pieces[i % 2] < end - text.fed ? pieces[i % 2] : end - text.fed;
        enum frame_status status = frame_feed(&reader, text.bytes + text.fed, piece);
        check((status == FRAME_TOO_BIG) == (text.fed - text.given + piece > max));
        if (status != FRAME_OK) break;
        text.fed += piece;
        take_all(&reader, &text);
    }
    frame_free(&reader);
    return 0;
}
