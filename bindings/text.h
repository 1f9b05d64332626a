/* text.h - small things about text: timestamps and UTF-8 fragments. */
#ifndef HARNESS_TEXT_H
#define HARNESS_TEXT_H

#include <stdint.h>

enum { TEXT_TIMESTAMP_LEN = 24 };

/* Writes ISO 8601 UTC with milliseconds, "2026-11-22T10:32:57.123Z" and a NUL; out holds 25 bytes
 * at least. Years beyond 9999 are cut to 9999. */
void text_timestamp(uint64_t epoch_ms, char *out);

#endif
