/* files.c - what all kinds of trees have in common: normal paths, what is refused, the order of
 * lists, errors. */
#include "files_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void files_init(struct files *f, const struct files_ops *ops) {
    *f = (struct files){.ops = ops};
}

enum files_error files_begin(struct files *f, const char *path, size_t len, struct normal *out) {
    f->detail[0] = '\0';
    if (f->closed) return FILES_ECLOSED;
    enum path_error wrong = path_normalise(path, len, out->bytes, &out->len);
    if (wrong != PATH_OK) return files_fail(f, FILES_EPATH, "%s", path_error_text(wrong));
    return files_check_name(f, out->bytes, out->len);
}

void files_as_owner(struct files *f, bool on) {
    if (f->ops->as_owner) f->ops->as_owner(f, on);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static bool is_system_name(const char *name, size_t len) {
    static const char *const NAMES[] = {"bin", "boot", "dev", "etc", "proc",
                                        "run", "sbin", "sys", "usr", "var"};
    if (len >= 3 && memcmp(name, "lib", 3) == 0) return true;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strlen(NAMES[i]) == len && memcmp(NAMES[i], name, len) == 0) return true;
    return false;
}

enum files_error files_check_name(struct files *f, const char *path, size_t len) {
    if (f->hidden && path_within(path, len, f->hidden, strlen(f->hidden))) return FILES_EHIDDEN;
    if (!f->no_system_names) return FILES_OK;
    const char *end = memchr(path + 1, '/', len - 1);
    size_t name_len = end ? (size_t)(end - path) - 1 : len - 1;
    return is_system_name(path + 1, name_len) ? FILES_ESYSTEM : FILES_OK;
}

enum files_error files_check_change(const struct files *f, const char *path, size_t len) {
    if (f->mounting) return FILES_OK;
    for (size_t i = 0; i < f->read_only_count; i++)
        if (path_within(path, len, f->read_only[i].path, f->read_only[i].len))
            return FILES_EREADONLY;
    return FILES_OK;
}

bool files_holds_read_only(const struct files *f, const char *path, size_t len) {
    for (size_t i = 0; i < f->read_only_count; i++)
        if (path_within(f->read_only[i].path, f->read_only[i].len, path, len)) return true;
    return false;
}

/* ---- calls ---------------------------------------------------------------------------------- */

enum files_error files_read_most(struct files *f, const char *path, size_t len, uint64_t most,
                                 struct files_data *out) {
    struct normal normal;
    enum files_error rc = files_begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    files_as_owner(f, true);
    rc = f->ops->read(f, normal.bytes, normal.len, most, out);
    files_as_owner(f, false);
    if (rc != FILES_ETOOBIG) return rc;
    return files_fail(f, rc, "has more than the %llu bytes that are read at a time",
                      (unsigned long long)most);
}

enum files_error files_read(struct files *f, const char *path, size_t len, struct files_data *out) {
    return files_read_most(f, path, len, FILES_READ_MAX, out);
}

enum files_error files_write(struct files *f, const char *path, size_t len, const char *bytes,
                             size_t n) {
    struct normal normal;
    enum files_error rc = files_begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    if (normal.len == 1) return FILES_EISDIR;
    rc = files_check_change(f, normal.bytes, normal.len);
    if (rc != FILES_OK) return rc;
    files_as_owner(f, true);
    rc = f->ops->write(f, normal.bytes, normal.len, bytes, n);
    files_as_owner(f, false);
    return rc;
}

void files_batch_begin(struct files *f) {
    if (!f->closed && f->ops->batch) f->ops->batch(f, true);
}

void files_batch_end(struct files *f) {
    if (!f->closed && f->ops->batch) f->ops->batch(f, false);
}

static bool is_missing(enum files_error rc) {
    return rc == FILES_ENOENT || rc == FILES_ENOTDIR;
}

enum files_error files_remove(struct files *f, const char *path, size_t len, bool recursive) {
    struct normal normal;
    enum files_error rc = files_begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    if (normal.len == 1) return FILES_EBUSY;
    if (files_holds_read_only(f, normal.bytes, normal.len)) return FILES_EREADONLY;
    rc = files_check_change(f, normal.bytes, normal.len);
    if (rc != FILES_OK) return rc;
    files_as_owner(f, true);
    rc = f->ops->remove(f, normal.bytes, normal.len, recursive);
    files_as_owner(f, false);
    return is_missing(rc) ? FILES_OK : rc;
}

enum files_error files_stat(struct files *f, const char *path, size_t len, struct files_stat *out) {
    struct normal normal;
    enum files_error rc = files_begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    files_as_owner(f, true);
    rc = f->ops->stat(f, normal.bytes, normal.len, out);
    files_as_owner(f, false);
    return rc;
}

enum files_error files_exists(struct files *f, const char *path, size_t len, bool *out) {
    struct files_stat stat;
    enum files_error rc = files_stat(f, path, len, &stat);
    *out = rc == FILES_OK;
    bool leads_nowhere = rc == FILES_ELOOP || rc == FILES_EESCAPE;
    return is_missing(rc) || leads_nowhere ? FILES_OK : rc;
}

/* ---- lists ---------------------------------------------------------------------------------- */

bool files_list_wants(const struct files_list *list, const char *path, size_t len) {
    return !list->glob || glob_match(list->glob, path, len);
}

enum files_error files_list_add(struct files_list *list, const char *path, size_t len,
                                enum files_kind kind, uint64_t size) {
    if (!files_list_wants(list, path, len)) return FILES_OK;
    if (list->count >= FILES_LIST_MAX) return FILES_ETOOBIG;
    if (list->count == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 64;
        struct files_entry *entries = realloc(list->entries, cap * sizeof *entries);
        if (!entries) return FILES_ENOMEM;
        list->entries = entries;
        list->cap = cap;
    }
    size_t at = list->bytes.len;
    if (buf_add(&list->bytes, path, len) != BUF_OK) return FILES_ENOMEM;
    list->entries[list->count++] =
        (struct files_entry){.at = at, .len = len, .kind = kind, .size = size};
    return FILES_OK;
}

static int by_path(const void *a, const void *b, void *bytes) {
    const struct files_entry *x = a, *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp((const char *)bytes + x->at, (const char *)bytes + y->at, len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

enum files_error files_list(struct files *f, const char *path, size_t len,
                            struct files_list *list) {
    buf_init(&list->bytes, SIZE_MAX / 2);
    list->entries = NULL;
    list->count = list->cap = 0;
    struct normal normal;
    enum files_error rc = files_begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    files_as_owner(f, true);
    rc = f->ops->list(f, normal.bytes, normal.len, list);
    files_as_owner(f, false);
    bool empty = is_missing(rc) || rc == FILES_EESCAPE || rc == FILES_ELOOP;
    if (rc != FILES_OK) return empty ? FILES_OK : rc;
    if (list->count > 1)
        qsort_r(list->entries, list->count, sizeof *list->entries, by_path, list->bytes.data);
    return FILES_OK;
}

void files_list_free(struct files_list *list) {
    free(list->entries);
    buf_free(&list->bytes);
    list->entries = NULL;
    list->count = list->cap = 0;
}

/* ---- snapshots, the end --------------------------------------------------------------------- */

static void free_mounts(struct files_mount *mounts, size_t count) {
    for (size_t i = 0; i < count; i++) free(mounts[i].path);
    free(mounts);
}

/* NULL: no memory. */
static struct files_mount *copy_mounts(const struct files_mount *mounts, size_t count) {
    struct files_mount *copy = malloc((count + 1) * sizeof *copy);
    if (!copy) return NULL;
    for (size_t i = 0; i < count; i++) {
        copy[i] = (struct files_mount){.path = strdup(mounts[i].path), .len = mounts[i].len};
        if (copy[i].path) continue;
        free_mounts(copy, i);
        return NULL;
    }
    return copy;
}

enum files_error files_take_snapshot(struct files *f, struct files_snapshot **out) {
    f->detail[0] = '\0';
    *out = NULL;
    if (f->closed) return FILES_ECLOSED;
    struct files_mount *mounts = copy_mounts(f->read_only, f->read_only_count);
    if (!mounts) return FILES_ENOMEM;
    files_as_owner(f, true);
    enum files_error rc = f->ops->snapshot(f, out);
    files_as_owner(f, false);
    if (rc != FILES_OK) {
        free_mounts(mounts, f->read_only_count);
        *out = NULL;
        return rc;
    }
    (*out)->read_only = mounts;
    (*out)->read_only_count = f->read_only_count;
    return FILES_OK;
}

enum files_error files_restore(struct files *f, struct files_snapshot *snapshot) {
    f->detail[0] = '\0';
    if (f->closed) return FILES_ECLOSED;
    struct files_mount *mounts = copy_mounts(snapshot->read_only, snapshot->read_only_count);
    if (!mounts) return FILES_ENOMEM;
    files_as_owner(f, true);
    enum files_error rc = f->ops->restore(f, snapshot);
    files_as_owner(f, false);
    if (rc != FILES_OK) {
        free_mounts(mounts, snapshot->read_only_count);
        return rc;
    }
    free_mounts(f->read_only, f->read_only_count);
    f->read_only = mounts;
    f->read_only_count = snapshot->read_only_count;
    return FILES_OK;
}

void files_snapshot_free(struct files_snapshot *snapshot) {
    if (!snapshot) return;
    free_mounts(snapshot->read_only, snapshot->read_only_count);
    snapshot->read_only = NULL;
    snapshot->read_only_count = 0;
    snapshot->free(snapshot);
}

void files_close(struct files *f) {
    if (f->closed) return;
    f->closed = true;
    f->ops->close(f);
    free_mounts(f->read_only, f->read_only_count);
    f->read_only = NULL;
    f->read_only_count = 0;
}

void files_free(struct files *f) {
    if (!f) return;
    files_close(f);
    f->ops->free(f);
}

/* ---- errors --------------------------------------------------------------------------------- */

static const struct {
    const char *reason, *name, *text;
} ERRORS[] = {
    [FILES_OK] = {"none", "OK", "is right"},
    [FILES_EPATH] = {"invalid_path", "EINVAL", "is no path"},
    [FILES_ESYSTEM] = {"invalid_path", "EPERM", "belongs to the system; work in /workspace"},
    [FILES_EHIDDEN] = {"invalid_path", "EPERM", "is what sandboxes keep for themselves"},
    [FILES_EESCAPE] = {"invalid_path", "EXDEV", "leads out of the sandbox by a symbolic link"},
    [FILES_ENOENT] = {"fs_failed", "ENOENT", "does not exist"},
    [FILES_EISDIR] = {"fs_failed", "EISDIR", "is a directory"},
    [FILES_ENOTDIR] = {"fs_failed", "ENOTDIR", "goes through a file, which is no directory"},
    [FILES_ENOTEMPTY] = {"fs_failed", "ENOTEMPTY",
                         "is a directory that is not empty; recursive = true removes it with all "
                         "that is in it"},
    [FILES_EBUSY] = {"fs_failed", "EBUSY", "cannot be removed itself; remove what is in it"},
    [FILES_ELOOP] = {"fs_failed", "ELOOP", "goes through too many symbolic links"},
    [FILES_ESPECIAL] = {"fs_failed", "EINVAL", "is neither a file nor a directory"},
    [FILES_EREADONLY] = {"read_only", "EROFS", "is read-only"},
    [FILES_EQUOTA] = {"quota_exceeded", "EDQUOT", "does not fit into what the sandbox may hold"},
    [FILES_ENOSPC] = {"fs_failed", "ENOSPC", "cannot be written: the disk is full"},
    [FILES_ETOOBIG] = {"too_large", "EFBIG", "is too large"},
    [FILES_ESNAPSHOT] = {"invalid_snapshot", "EINVAL", "is a snapshot of another sandbox"},
    [FILES_EIO] = {"fs_failed", "EIO", "cannot be used"},
    [FILES_EUNSUPPORTED] = {"unsupported", "ENOSYS", "needs what this system does not have"},
    [FILES_ECLOSED] = {"session_closed", "EBADF", "cannot be used: the sandbox is closed"},
    [FILES_ENOMEM] = {"fs_failed", "ENOMEM", "does not fit into memory"},
};

const char *files_reason(enum files_error error) {
    return ERRORS[error].reason;
}

const char *files_error_name(enum files_error error) {
    return ERRORS[error].name;
}

void files_message(const struct files *f, enum files_error error, char *out, size_t size) {
    snprintf(out, size, "%s", f->detail[0] ? f->detail : ERRORS[error].text);
}

enum files_error files_fail(struct files *f, enum files_error error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(f->detail, sizeof f->detail, format, args);
    va_end(args);
    return error;
}
