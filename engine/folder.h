/* folder.h - a directory of the host that others may have filled: what is in it, and the bytes of its
 * files, without ever following a symbolic link inside of it or waiting for a fifo.
 *
 *     struct folder_list list;
 *     struct folder_limits limits = {.files = 5000, .bytes = 100000000};
 *     int rc = folder_scan("/srv/skills/pdf", &limits, &list);      // sizes only; nothing is read
 *     if (rc == 0) rc = folder_read("/srv/skills/pdf", list.entries[0].name, 0, 1 << 20, &bytes, &size);
 *     folder_list_free(&list);
 *
 * The directory's own path is the caller's, and links in it count. All calls are synchronous: who must not
 * be held up reads in slices. Functions return 0, an errno, or one of the negative values below. */
#ifndef HARNESS_ENGINE_FOLDER_H
#define HARNESS_ENGINE_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum {
    FOLDER_ELIMIT = -1,  /* more than the limits allow, or nested more than FOLDER_DEPTH_MAX deep */
    FOLDER_ENOFILE = -2, /* not a regular file: a link, a directory, a fifo, a device */
};

enum {
    FOLDER_DEPTH_MAX = 64,
    FOLDER_VISITED_MAX = 100000, /* entries of all kinds that one call looks at */
};

enum folder_kind { FOLDER_FILE, FOLDER_DIRECTORY, FOLDER_LINK, FOLDER_OTHER };

struct folder_entry {
    char *name; /* relative to the directory, such as "scripts/run.sh" */
    enum folder_kind kind;
    uint64_t size; /* of a file */
};

struct folder_list {
    struct folder_entry *entries; /* in byte order of the names */
    size_t count;
    size_t cap;
    uint64_t bytes; /* of all files together */
    size_t links;   /* symbolic links that were passed over */
    size_t others;  /* fifos, sockets, devices that were passed over */
    char *failed; /* after an errno: the name of what could not be looked at; NULL: the directory */
};

struct folder_limits {
    size_t files;
    uint64_t bytes;
};

/* What is directly in the directory, of all kinds. The list is the caller's to free, whatever is
 * returned. */
int folder_list(const char *path, struct folder_list *out);
/* All regular files in it and below. FOLDER_ELIMIT as soon as there are more than the limits allow. */
int folder_scan(const char *path, const struct folder_limits *limits, struct folder_list *out);
void folder_list_free(struct folder_list *list);

/* Appends at most max bytes of the file, from offset on, to out; *size is what it has in all. name is
 * relative, without "." and ".."; a link on the way is FOLDER_ENOFILE or ENOTDIR. */
int folder_read(const char *path, const char *name, uint64_t offset, size_t max, struct buf *out,
                uint64_t *size);

#endif
