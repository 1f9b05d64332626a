/* sha256.h - the SHA-256 digest of bytes (FIPS 180-4).
 *
 *     struct sha256 sha;
 *     unsigned char digest[SHA256_SIZE];
 *     char hex[SHA256_HEX_SIZE];
 *     sha256_begin(&sha);
 *     sha256_add(&sha, "abc", 3);          // as often as there are pieces
 *     sha256_end(&sha, digest);
 *     sha256_hex(digest, hex);             // "ba7816bf...f20015ad"
 *
 * For names of content and for telling values apart without showing them; not for passwords. Nothing
 * is allocated and nothing fails. */
#ifndef HARNESS_ENGINE_SHA256_H
#define HARNESS_ENGINE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32, SHA256_HEX_SIZE = 2 * SHA256_SIZE + 1, SHA256_BLOCK = 64 };

struct sha256 {
    uint32_t state[8];
    uint64_t total; /* bytes so far */
    unsigned char block[SHA256_BLOCK];
};

void sha256_begin(struct sha256 *sha);

/* data may be NULL when len is 0. */
void sha256_add(struct sha256 *sha, const void *data, size_t len);

/* After it the digest is over; begin starts another one. */
void sha256_end(struct sha256 *sha, unsigned char digest[SHA256_SIZE]);

/* The digest in lower-case hex, with a NUL. */
void sha256_hex(const unsigned char digest[SHA256_SIZE], char hex[SHA256_HEX_SIZE]);

#endif
