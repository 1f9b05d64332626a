/* files_mount.c - files that are written together: all paths are checked before the first one is
 * written. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "files_impl.h"

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
    files_as_owner(f, true);
    enum files_error rc = f->ops->follow(f, at->bytes, &at->len);
    files_as_owner(f, false);
    return rc;
}

enum files_error files_mount(struct files *f, const char *at, size_t at_len,
                             const struct files_new_file *files, size_t count, bool read_only) {
    struct normal top;
    enum files_error rc = files_begin(f, at, at_len, &top);
    if (rc == FILES_OK && f->ops->follow) rc = follow(f, &top);
    if (rc != FILES_OK) return rc;
    struct mounting m = {.f = f, .at = &top};
    buf_init(&m.bytes, SIZE_MAX / 2);
    m.items = calloc(count + 1, sizeof *m.items);
    if (!m.items) return FILES_ENOMEM;
    for (size_t i = 0; rc == FILES_OK && i < count; i++) rc = add_item(&m, &files[i]);
    if (rc == FILES_OK && m.count > 1)
        qsort_r(m.items, m.count, sizeof *m.items, by_item, m.bytes.data);
    files_as_owner(f, true);
    if (rc == FILES_OK) rc = mount_items(&m, read_only);
    files_as_owner(f, false);
    free(m.items);
    buf_free(&m.bytes);
    return rc;
}
