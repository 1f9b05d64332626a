/* files.h - the port of file trees: what the file calls of a sandbox session work on.
 *
 *     struct files *f = files_memory_new(64 << 20);                       // or files_directory_new
 *     enum files_error rc = files_write(f, "/workspace/a", 12, "hi", 2);
 *     struct files_data data;
 *     if (rc == FILES_OK) rc = files_read(f, "/workspace/a", 12, &data);
 *     if (rc != FILES_OK) { files_message(f, rc, text, sizeof text); puts(text); }
 *     files_free(f);
 *
 * Paths are those of path.h and are normalised here; a kind (struct files_ops) sees normal paths
 * only. Parents of what is written are made. A file is no directory, and the other way round.
 * Missing files may be removed, and a missing directory lists nothing; whatever else does not
 * work is an error, after which the tree is as it was.
 *
 * Calls are synchronous. One thread at a time. */
#ifndef HARNESS_SANDBOX_FILES_H
#define HARNESS_SANDBOX_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../engine/buf.h"
#include "../engine/glob.h"
#include "path.h"

enum files_error {
    FILES_OK,
    FILES_EPATH,     /* not a path: path.h says why */
    FILES_ESYSTEM,   /* a name of the system, such as /usr */
    FILES_EHIDDEN,   /* where sandboxes keep their own files */
    FILES_EESCAPE,   /* a symbolic link leads out of the tree */
    FILES_ENOENT,    /* there is nothing */
    FILES_EISDIR,    /* a directory where a file is wanted */
    FILES_ENOTDIR,   /* a file where a directory is wanted */
    FILES_ENOTEMPTY, /* a directory that is not empty */
    FILES_EBUSY,     /* the root or the workspace themselves */
    FILES_ELOOP,     /* too many symbolic links, or they change all the time */
    FILES_ESPECIAL,  /* a fifo, a socket, a device */
    FILES_EREADONLY, /* in a read-only mount */
    FILES_EQUOTA,    /* the tree would become too large */
    FILES_ENOSPC,    /* the disk is full */
    FILES_ETOOBIG,   /* a file too large to read, a list too long */
    FILES_ESNAPSHOT, /* the snapshot is of another tree */
    FILES_EIO,       /* what else the system said: files_message has it */
    FILES_EUNSUPPORTED,
    FILES_ECLOSED,
    FILES_ENOMEM
};

enum {
    FILES_READ_MAX = 256 << 20,  /* the largest file that is read */
    FILES_LIST_MAX = 200000,     /* the most entries of one list */
    FILES_VISITED_MAX = 1000000, /* the most that one list looks at */
    FILES_DETAIL_SIZE = 320
};

enum files_kind { FILES_FILE, FILES_DIRECTORY, FILES_OTHER /* of the host: a fifo, a dead link */ };

struct files_stat {
    enum files_kind kind;
    uint64_t size; /* 0 unless a file */
    uint64_t modified_ms;
};

/* Valid until the next call on the tree. */
struct files_data {
    const char *bytes;
    size_t len;
};

struct files_entry {
    size_t at, len; /* its path, in the list's bytes */
    enum files_kind kind;
    uint64_t size; /* of a file */
};

/* The options of a list, and then what it found. */
struct files_list {
    bool recursive;
    bool no_sizes;     /* sizes are not wanted, which can be quicker */
    struct glob *glob; /* borrowed; NULL: all. Covers the whole path */
    struct files_entry *entries;
    size_t count, cap;
    struct buf bytes;
};

struct files_new_file {
    const char *name; /* relative to the mount; no ".." */
    size_t name_len;
    const char *bytes;
    size_t len;
};

struct files;
struct files_snapshot;

/* A kind. Paths are normal and end with NUL. What is not there: see each. */
struct files_ops {
    const char *kind;
    bool cheap_snapshots; /* in constant time: then a mount happens as a whole or not at all */
    /* FILES_ETOOBIG: the file has more than `most` bytes. */
    enum files_error (*read)(struct files *f, const char *path, size_t len, uint64_t most,
                             struct files_data *out);
    enum files_error (*write)(struct files *f, const char *path, size_t len, const char *bytes,
                              size_t n);
    enum files_error (*make_directory)(struct files *f, const char *path, size_t len);
    enum files_error (*remove)(struct files *f, const char *path, size_t len, bool recursive);
    /* Adds what is below path with files_list_add, in any order. */
    enum files_error (*list)(struct files *f, const char *path, size_t len,
                             struct files_list *list);
    enum files_error (*stat)(struct files *f, const char *path, size_t len, struct files_stat *out);
    /* Makes a path the one that it leads to by links; what is not there stays as it is. NULL: this
     * kind has no links. */
    enum files_error (*follow)(struct files *f, char path[PATH_BYTES_MAX + 1], size_t *len);
    enum files_error (*snapshot)(struct files *f, struct files_snapshot **out);
    enum files_error (*restore)(struct files *f, struct files_snapshot *snapshot);
    /* Lets go of all that the tree holds, of its snapshots too. Called once. */
    void (*close)(struct files *f);
    void (*free)(struct files *f);
    /* Many files are read from now on, one directory after the other; or no longer. NULL: that is
     * the same to this kind. */
    void (*batch)(struct files *f, bool on);
    /* Around every call, `read` to `restore`: whose rights it is made with. NULL: ours. */
    void (*as_owner)(struct files *f, bool on);
};

/* Embedded in every kind's own struct. */
struct files {
    const struct files_ops *ops;
    bool closed;
    bool no_system_names; /* /usr, /etc, ... are refused */
    bool mounting;        /* read-only does not count meanwhile */
    const char *hidden;   /* a path that is refused with all below; the kind's own. NULL: none */
    struct files_mount *read_only;
    size_t read_only_count;
    char detail[FILES_DETAIL_SIZE]; /* more about the last error; may be empty */
};

struct files_mount {
    size_t len;
    char *path;
};

/* Embedded in every kind's snapshot. */
struct files_snapshot {
    void (*free)(struct files_snapshot *snapshot);
    struct files_mount *read_only; /* the mounts of then; not for kinds */
    size_t read_only_count;
};

/* ---- calls ---------------------------------------------------------------------------------- */

enum files_error files_read(struct files *f, const char *path, size_t len, struct files_data *out);
/* FILES_ETOOBIG for a file of more than so many bytes, of which none is read. */
enum files_error files_read_most(struct files *f, const char *path, size_t len, uint64_t most,
                                 struct files_data *out);
enum files_error files_write(struct files *f, const char *path, size_t len, const char *bytes,
                             size_t n);
enum files_error files_remove(struct files *f, const char *path, size_t len, bool recursive);
/* Fills a list whose options are set, sorted by the bytes of the paths. files_list_free frees it,
 * also after an error. */
enum files_error files_list(struct files *f, const char *path, size_t len, struct files_list *list);
enum files_error files_stat(struct files *f, const char *path, size_t len, struct files_stat *out);
/* Between these two, files of one directory may be read quicker, if nothing but files_read is
 * called. */
void files_batch_begin(struct files *f);
void files_batch_end(struct files *f);
/* A link that leads nowhere does not exist. */
enum files_error files_exists(struct files *f, const char *path, size_t len, bool *out);
/* Writes files below `at`, or where links lead from there; read-only ones cannot be changed
 * afterwards but by another mount. */
enum files_error files_mount(struct files *f, const char *at, size_t at_len,
                             const struct files_new_file *files, size_t count, bool read_only);
/* *out is the caller's to free with files_snapshot_free, before or after the tree is closed. */
enum files_error files_take_snapshot(struct files *f, struct files_snapshot **out);
enum files_error files_restore(struct files *f, struct files_snapshot *snapshot);
void files_snapshot_free(struct files_snapshot *snapshot);
/* Afterwards every call is FILES_ECLOSED. May be called twice. */
void files_close(struct files *f);
void files_free(struct files *f);

/* The reason of a SANDBOX_ERROR ("fs_failed"), the name of the error ("ENOENT"). */
const char *files_reason(enum files_error error);
const char *files_error_name(enum files_error error);
/* What is wrong, as the end of a sentence that begins with the path. */
void files_message(const struct files *f, enum files_error error, char *out, size_t size);

/* ---- for kinds ------------------------------------------------------------------------------ */

void files_init(struct files *f, const struct files_ops *ops);
/* May what is at the path be changed? */
enum files_error files_check_change(const struct files *f, const char *path, size_t len);
/* Is there a read-only mount at the path or below? */
bool files_holds_read_only(const struct files *f, const char *path, size_t len);
/* May the path be used at all? */
enum files_error files_check_name(struct files *f, const char *path, size_t len);
/* Would the list take this path? Adding asks this too; it saves finding out the size. */
bool files_list_wants(const struct files_list *list, const char *path, size_t len);
enum files_error files_list_add(struct files_list *list, const char *path, size_t len,
                                enum files_kind kind, uint64_t size);
void files_list_free(struct files_list *list);
/* Notes more about an error, and returns it. */
enum files_error files_fail(struct files *f, enum files_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
