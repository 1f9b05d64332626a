/* files.c - what all kinds of trees have in common: normal paths, what is refused, read-only
 * mounts, the order of lists. */
#include "files.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A normal path. */
struct normal {
    size_t len;
    char bytes[PATH_BYTES_MAX + 1];
};

void files_init(struct files *f, const struct files_ops *ops) {
    *f = (struct files){.ops = ops};
}

/* Every call begins with this. */
static enum files_error begin(struct files *f, const char *path, size_t len, struct normal *out) {
    f->detail[0] = '\0';
    if (f->closed) return FILES_ECLOSED;
    enum path_error wrong = path_normalise(path, len, out->bytes, &out->len);
    if (wrong != PATH_OK) return files_fail(f, FILES_EPATH, "%s", path_error_text(wrong));
    return files_check_name(f, out->bytes, out->len);
}

static void as_owner(struct files *f, bool on) {
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
    enum files_error rc = begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    as_owner(f, true);
    rc = f->ops->read(f, normal.bytes, normal.len, most, out);
    as_owner(f, false);
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
    enum files_error rc = begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    if (normal.len == 1) return FILES_EISDIR;
    rc = files_check_change(f, normal.bytes, normal.len);
    if (rc != FILES_OK) return rc;
    as_owner(f, true);
    rc = f->ops->write(f, normal.bytes, normal.len, bytes, n);
    as_owner(f, false);
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
    enum files_error rc = begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    if (normal.len == 1) return FILES_EBUSY;
    if (files_holds_read_only(f, normal.bytes, normal.len)) return FILES_EREADONLY;
    rc = files_check_change(f, normal.bytes, normal.len);
    if (rc != FILES_OK) return rc;
    as_owner(f, true);
    rc = f->ops->remove(f, normal.bytes, normal.len, recursive);
    as_owner(f, false);
    return is_missing(rc) ? FILES_OK : rc;
}

enum files_error files_stat(struct files *f, const char *path, size_t len, struct files_stat *out) {
    struct normal normal;
    enum files_error rc = begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    as_owner(f, true);
    rc = f->ops->stat(f, normal.bytes, normal.len, out);
    as_owner(f, false);
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
    enum files_error rc = begin(f, path, len, &normal);
    if (rc != FILES_OK) return rc;
    as_owner(f, true);
    rc = f->ops->list(f, normal.bytes, normal.len, list);
    as_owner(f, false);
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

/* ---- mounts --------------------------------------------------------------------------------- */

/* Marks a path as read-only, or no longer. */
static enum files_error mark(struct files *f, const struct normal *at, bool read_only) {
    size_t i = 0;
    while (i < f->read_only_count && !(f->read_only[i].len == at->len &&
                                       memcmp(f->read_only[i].path, at->bytes, at->len) == 0))
        i++;
    bool found = i < f->read_only_count;
    if (found == read_only) return FILES_OK;
    if (!read_only) {
        free(f->read_only[i].path);
        f->read_only[i] = f->read_only[--f->read_only_count];
        return FILES_OK;
    }
    struct files_mount *mounts =
        realloc(f->read_only, (f->read_only_count + 1) * sizeof *f->read_only);
    if (!mounts) return FILES_ENOMEM;
    f->read_only = mounts;
    char *copy = strdup(at->bytes);
    if (!copy) return FILES_ENOMEM;
    mounts[f->read_only_count++] = (struct files_mount){.path = copy, .len = at->len};
    return FILES_OK;
}

struct item {
    size_t path, len; /* in the bytes of the mounting */
    const char *bytes;
    size_t n;
};

/* The files of a mount with their paths, sorted by them. */
struct mounting {
    struct files *f;
    const struct normal *at;
    struct buf bytes;
    struct item *items;
    size_t count;
};

/* The path of a file to be mounted. Its name may not lead out of the mount. */
static enum files_error add_item(struct mounting *m, const struct files_new_file *file) {
    struct normal normal;
    struct buf path;
    buf_init(&path, SIZE_MAX / 2);
    bool whole = buf_add(&path, m->at->bytes, m->at->len) == BUF_OK &&
                 buf_add_char(&path, '/') == BUF_OK &&
                 buf_add(&path, file->name, file->name_len) == BUF_OK;
    enum path_error wrong =
        whole ? path_normalise(path.data, path.len, normal.bytes, &normal.len) : PATH_OK;
    buf_free(&path);
    int shown = (int)(file->name_len < 80 ? file->name_len : 80);
    if (whole && wrong != PATH_OK)
        return files_fail(m->f, FILES_EPATH, "has a file to mount, \"%.*s\", whose path %s", shown,
                          file->name, path_error_text(wrong));
    if (whole && (normal.len <= m->at->len ||
                  !path_within(normal.bytes, normal.len, m->at->bytes, m->at->len)))
        return files_fail(m->f, FILES_EPATH, "has a file to mount, \"%.*s\", that is not below it",
                          shown, file->name);
    size_t offset = m->bytes.len;
    if (!whole || buf_add(&m->bytes, normal.bytes, normal.len + 1) != BUF_OK) return FILES_ENOMEM;
    m->items[m->count++] =
        (struct item){.path = offset, .len = normal.len, .bytes = file->bytes, .n = file->len};
    return FILES_OK;
}

static int by_item(const void *a, const void *b, void *bytes) {
    const struct item *x = a, *y = b;
    return strcmp((const char *)bytes + x->path, (const char *)bytes + y->path);
}

/* Is this the path of one of the files? */
static bool has_item(const struct mounting *m, const char *path, size_t len) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *other = m->bytes.data + m->items[middle].path;
        int order = strncmp(other, path, len);
        if (order == 0 && other[len] == '\0') return true;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return false;
}

/* Would the file replace a directory, or is another one there twice or a directory on its way? */
static enum files_error check_item(const struct mounting *m, size_t i) {
    const struct item *item = &m->items[i];
    const char *path = m->bytes.data + item->path;
    struct files_stat stat;
    enum files_error rc = m->f->ops->stat(m->f, path, item->len, &stat);
    if (rc == FILES_OK && stat.kind == FILES_DIRECTORY) rc = FILES_EISDIR;
    if (rc != FILES_OK && rc != FILES_ENOENT) return rc;
    bool twice = i > 0 && strcmp(m->bytes.data + m->items[i - 1].path, path) == 0;
    for (size_t end = m->at->len + 1; !twice && end < item->len; end++)
        twice = path[end] == '/' && has_item(m, path, end);
    m->f->detail[0] = '\0';
    if (!twice) return FILES_OK;
    return files_fail(m->f, FILES_EPATH,
                      "has files to mount of which one would be twice, or a directory: %.200s",
                      path);
}

static enum files_error write_items(const struct mounting *m) {
    enum files_error rc = m->f->ops->make_directory(m->f, m->at->bytes, m->at->len);
    for (size_t i = 0; rc == FILES_OK && i < m->count; i++) {
        const struct item *item = &m->items[i];
        rc = m->f->ops->write(m->f, m->bytes.data + item->path, item->len, item->bytes, item->n);
    }
    return rc;
}

/* Takes back what was written so far: where snapshots are cheap by one, else if the mount was
 * new. */
static void undo(const struct mounting *m, struct files_snapshot *before, bool is_new) {
    char detail[FILES_DETAIL_SIZE]; /* the first error is what counts */
    memcpy(detail, m->f->detail, sizeof detail);
    if (before) {
        enum files_error undone = m->f->ops->restore(m->f, before);
        assert(undone == FILES_OK); /* it was within the limits before */
        (void)undone;
    } else if (is_new) {
        (void)m->f->ops->remove(m->f, m->at->bytes, m->at->len, true);
    }
    memcpy(m->f->detail, detail, sizeof detail);
}

static enum files_error mount_items(const struct mounting *m, bool read_only) {
    struct files *f = m->f;
    struct files_snapshot *before = NULL;
    struct files_stat stat;
    enum files_error rc = FILES_OK;
    for (size_t i = 0; rc == FILES_OK && i < m->count; i++) rc = check_item(m, i);
    bool is_new =
        rc == FILES_OK && f->ops->stat(f, m->at->bytes, m->at->len, &stat) == FILES_ENOENT;
    if (rc == FILES_OK && f->ops->cheap_snapshots) rc = f->ops->snapshot(f, &before);
    if (rc != FILES_OK) return rc;
    f->mounting = true;
    rc = write_items(m);
    if (rc == FILES_OK) rc = mark(f, m->at, read_only);
    if (rc != FILES_OK) undo(m, before, is_new);
    f->mounting = false;
    files_snapshot_free(before);
    return rc;
}

static enum files_error follow(struct files *f, struct normal *at) {
    as_owner(f, true);
    enum files_error rc = f->ops->follow(f, at->bytes, &at->len);
    as_owner(f, false);
    return rc;
}

enum files_error files_mount(struct files *f, const char *at, size_t at_len,
                             const struct files_new_file *files, size_t count, bool read_only) {
    struct normal top;
    enum files_error rc = begin(f, at, at_len, &top);
    if (rc == FILES_OK && f->ops->follow) rc = follow(f, &top);
    if (rc != FILES_OK) return rc;
    struct mounting m = {.f = f, .at = &top};
    buf_init(&m.bytes, SIZE_MAX / 2);
    m.items = calloc(count + 1, sizeof *m.items);
    if (!m.items) return FILES_ENOMEM;
    for (size_t i = 0; rc == FILES_OK && i < count; i++) rc = add_item(&m, &files[i]);
    if (rc == FILES_OK && m.count > 1)
        qsort_r(m.items, m.count, sizeof *m.items, by_item, m.bytes.data);
    as_owner(f, true);
    if (rc == FILES_OK) rc = mount_items(&m, read_only);
    as_owner(f, false);
    free(m.items);
    buf_free(&m.bytes);
    return rc;
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
    as_owner(f, true);
    enum files_error rc = f->ops->snapshot(f, out);
    as_owner(f, false);
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
    as_owner(f, true);
    enum files_error rc = f->ops->restore(f, snapshot);
    as_owner(f, false);
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
