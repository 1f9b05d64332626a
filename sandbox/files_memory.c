/* files_memory.c - a persistent tree (Driscoll, Sarnak, Sleator and Tarjan, 1989): a snapshot is
 * one more reference to the root, and a change copies the shared directories on its way.
 *
 * A call first finds out whether it is allowed, then gets all memory that it needs, then changes
 * the tree, which cannot fail any more. */
#include "files_memory.h"

#include <stdlib.h>
#include <string.h>

#include "files_memory_node.h"

enum { DEPTH_MAX = PATH_BYTES_MAX / 2 + 2, QUOTA_BYTES_PER_NODE = 64 };

struct memory_files {
    struct files base;
    struct node *root; /* NULL: closed */
    uint64_t quota_bytes;
    files_clock_fn now_ms;
    void *user;
};

struct memory_snapshot {
    struct files_snapshot base;
    struct node *root;
};

/* A path, name by name. */
struct names {
    const char *path;
    size_t len, at;
};

static struct memory_files *memory_of(struct files *f) {
    return (struct memory_files *)f;
}

/* The next name; false behind the last one. */
static bool next_name(struct names *names, const char **name, size_t *len) {
    if (names->at + 1 >= names->len) return false;
    *name = names->path + names->at + 1;
    const char *slash = memchr(*name, '/', names->len - names->at - 1);
    *len = slash ? (size_t)(slash - *name) : names->len - names->at - 1;
    names->at += 1 + *len;
    return true;
}

/* The node of a path; NULL: *rc says why. */
static struct node *lookup(const struct memory_files *m, const char *path, size_t len,
                           enum files_error *rc) {
    struct names names = {.path = path, .len = len};
    struct node *node = m->root;
    const char *name;
    size_t name_len, at;
    while (next_name(&names, &name, &name_len)) {
        *rc = node->is_directory ? FILES_ENOENT : FILES_ENOTDIR;
        if (!node->is_directory || !node_find(node, name, name_len, &at)) return NULL;
        node = node->items[at];
    }
    *rc = FILES_OK;
    return node;
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum files_error memory_read(struct files *f, const char *path, size_t len, uint64_t most,
                                    struct files_data *out) {
    enum files_error rc;
    const struct node *node = lookup(memory_of(f), path, len, &rc);
    if (!node) return rc;
    if (node->is_directory) return FILES_EISDIR;
    if (node->bytes > most) return FILES_ETOOBIG;
    *out = (struct files_data){.bytes = node_bytes(node), .len = node->bytes};
    return FILES_OK;
}

static enum files_error memory_stat(struct files *f, const char *path, size_t len,
                                    struct files_stat *out) {
    enum files_error rc;
    const struct node *node = lookup(memory_of(f), path, len, &rc);
    if (!node) return rc;
    *out = (struct files_stat){.kind = node->is_directory ? FILES_DIRECTORY : FILES_FILE,
                               .size = node->is_directory ? 0 : node->bytes,
                               .modified_ms = node->modified_ms};
    return FILES_OK;
}

/* A directory that is being listed. */
struct frame {
    const struct node *directory;
    size_t next;
    size_t path_len;
};

static enum files_error memory_list(struct files *f, const char *path, size_t len,
                                    struct files_list *list) {
    struct frame frames[DEPTH_MAX];
    char text[PATH_BYTES_MAX + 1];
    enum files_error rc;
    const struct node *top = lookup(memory_of(f), path, len, &rc);
    if (!top) return rc;
    if (!top->is_directory) return FILES_ENOTDIR;
    memcpy(text, path, len);
    size_t depth = 0;
    frames[depth++] = (struct frame){.directory = top, .path_len = len == 1 ? 0 : len};
    while (depth && rc == FILES_OK) {
        struct frame *frame = &frames[depth - 1];
        if (frame->next == frame->directory->count) {
            depth--;
            continue;
        }
        const struct node *node = frame->directory->items[frame->next++];
        size_t end = frame->path_len;
        text[end++] = '/';
        memcpy(text + end, node->text, node->name_len);
        end += node->name_len;
        enum files_kind kind = node->is_directory ? FILES_DIRECTORY : FILES_FILE;
        rc = files_list_add(list, text, end, kind, node->bytes);
        if (node->is_directory && list->recursive)
            frames[depth++] = (struct frame){.directory = node, .path_len = end};
    }
    return rc;
}

/* ---- changing ------------------------------------------------------------------------------- */

/* How far a path leads, and what a change there would do. */
struct change {
    struct memory_files *m;
    const char *path;
    size_t len;
    size_t existing;   /* directories on the way that exist, the root included */
    size_t missing_at; /* where in the path the first missing name begins, or the last name */
    size_t missing;    /* names that are missing, the last one not counted unless it is */
    const struct node *old;
};

/* Walks along directories as far as there are some. */
static enum files_error look(struct change *c) {
    struct names names = {.path = c->path, .len = c->len};
    const struct node *node = c->m->root;
    const char *name;
    size_t name_len, at;
    c->existing = 1;
    while (next_name(&names, &name, &name_len)) {
        c->missing_at = (size_t)(name - c->path);
        if (!node->is_directory) return FILES_ENOTDIR;
        if (!node_find(node, name, name_len, &at)) {
            c->missing = 1;
            while (next_name(&names, &name, &name_len)) c->missing++;
            return FILES_OK;
        }
        node = node->items[at];
        if (names.at + 1 < names.len) c->existing++;
    }
    c->old = node;
    return FILES_OK;
}

static enum files_error check_quota(const struct memory_files *m, uint64_t bytes, uint64_t nodes) {
    uint64_t most = m->quota_bytes / QUOTA_BYTES_PER_NODE;
    if (most < FILES_MEMORY_NODES) most = FILES_MEMORY_NODES;
    if (bytes <= m->quota_bytes && nodes <= most) return FILES_OK;
    struct files *f = (struct files *)&m->base;
    if (nodes > most)
        return files_fail(f, FILES_EQUOTA,
                          "does not fit: the sandbox holds %llu files and directories already",
                          (unsigned long long)most);
    return files_fail(f, FILES_EQUOTA,
                      "does not fit: the files of the sandbox would have %llu bytes, more than its "
                      "quota of %llu",
                      (unsigned long long)bytes, (unsigned long long)m->quota_bytes);
}

/* Puts an item into new directories for the names that are missing before it: the outermost. */
static struct node *wrap(const struct change *c, struct node *item, uint64_t now_ms) {
    size_t end = c->len - item->name_len - 1;
    while (item && c->missing_at < end) {
        size_t begin = path_name_at(c->path, end);
        struct node *directory = node_new_directory(c->path + begin, end - begin, now_ms);
        if (!directory || !node_reserve(directory)) {
            node_unref(directory);
            node_unref(item);
            return NULL;
        }
        node_insert(directory, 0, item);
        directory->bytes = item->bytes;
        directory->nodes = 1 + item->nodes;
        item = directory;
        end = begin - 1;
    }
    return item;
}

/* Makes the directories on the way our own: the last one, and the trail has them all. NULL: no
 * memory. */
static struct node *own_trail(const struct change *c, struct node *trail[DEPTH_MAX]) {
    struct node *last = NULL;
    struct names names = {.path = c->path, .len = c->len};
    struct node **slot = &c->m->root;
    for (size_t i = 0; i < c->existing; i++) {
        const char *name;
        size_t name_len, at;
        if (!node_own(slot)) return NULL;
        trail[i] = last = *slot;
        if (i + 1 < c->existing && next_name(&names, &name, &name_len) &&
            node_find(*slot, name, name_len, &at))
            slot = &(*slot)->items[at];
    }
    return last;
}

static void account(struct node *const *trail, size_t count, uint64_t bytes, uint64_t nodes) {
    for (size_t i = 0; i < count; i++) { /* differences, in the arithmetic of unsigned numbers */
        trail[i]->bytes += bytes;
        trail[i]->nodes += nodes;
    }
}

/* Puts a new file or directory at the path, in the place of c->old if there is one. Takes the
 * item. */
static enum files_error put(const struct change *c, struct node *item, uint64_t now_ms) {
    struct node *trail[DEPTH_MAX];
    item = wrap(c, item, now_ms);
    if (!item) return FILES_ENOMEM;
    size_t at, end = c->missing_at;
    while (end < c->len && c->path[end] != '/') end++;
    struct node *parent = own_trail(c, trail);
    if (!parent || (!c->old && !node_reserve(parent))) {
        node_unref(item);
        return FILES_ENOMEM;
    }
    uint64_t bytes = item->bytes, nodes = item->nodes;
    if (node_find(parent, c->path + c->missing_at, end - c->missing_at, &at)) {
        struct node *old = parent->items[at];
        bytes -= old->bytes;
        nodes -= old->nodes;
        parent->items[at] = item;
        node_unref(old);
    } else {
        node_insert(parent, at, item);
        parent->modified_ms = now_ms;
    }
    account(trail, c->existing, bytes, nodes);
    return FILES_OK;
}

static enum files_error memory_write(struct files *f, const char *path, size_t len,
                                     const char *bytes, size_t n) {
    struct memory_files *m = memory_of(f);
    struct change c = {.m = m, .path = path, .len = len};
    enum files_error rc = look(&c);
    if (rc != FILES_OK) return rc;
    if (c.old && c.old->is_directory) return FILES_EISDIR;
    rc =
        check_quota(m, m->root->bytes - (c.old ? c.old->bytes : 0) + n, m->root->nodes + c.missing);
    if (rc != FILES_OK) return rc;
    uint64_t now_ms = m->now_ms(m->user);
    size_t name_at = path_name_at(path, len);
    struct node *file = node_new_file(path + name_at, len - name_at, bytes, n, now_ms);
    return file ? put(&c, file, now_ms) : FILES_ENOMEM;
}

static enum files_error memory_make_directory(struct files *f, const char *path, size_t len) {
    struct memory_files *m = memory_of(f);
    struct change c = {.m = m, .path = path, .len = len};
    enum files_error rc = look(&c);
    if (rc != FILES_OK) return rc;
    if (c.old) return c.old->is_directory ? FILES_OK : FILES_ENOTDIR;
    rc = check_quota(m, m->root->bytes, m->root->nodes + c.missing);
    if (rc != FILES_OK) return rc;
    uint64_t now_ms = m->now_ms(m->user);
    size_t name_at = path_name_at(path, len);
    struct node *directory = node_new_directory(path + name_at, len - name_at, now_ms);
    return directory ? put(&c, directory, now_ms) : FILES_ENOMEM;
}

static enum files_error memory_remove(struct files *f, const char *path, size_t len,
                                      bool recursive) {
    struct node *trail[DEPTH_MAX];
    struct memory_files *m = memory_of(f);
    struct change c = {.m = m, .path = path, .len = len};
    enum files_error rc = look(&c);
    if (rc != FILES_OK) return rc;
    if (!c.old) return FILES_ENOENT;
    if (c.old->count && !recursive) return FILES_ENOTEMPTY;
    struct node *parent = own_trail(&c, trail);
    if (!parent) return FILES_ENOMEM;
    size_t at, name_at = path_name_at(path, len);
    if (!node_find(parent, path + name_at, len - name_at, &at)) return FILES_ENOENT;
    struct node *old = node_take(parent, at);
    parent->modified_ms = m->now_ms(m->user);
    account(trail, c.existing, 0 - old->bytes, 0 - old->nodes);
    node_unref(old);
    return FILES_OK;
}

/* ---- snapshots, the end --------------------------------------------------------------------- */

static void snapshot_free(struct files_snapshot *snapshot) {
    node_unref(((struct memory_snapshot *)snapshot)->root);
    free(snapshot);
}

static enum files_error memory_snapshot(struct files *f, struct files_snapshot **out) {
    struct memory_snapshot *snapshot = malloc(sizeof *snapshot);
    if (!snapshot) return FILES_ENOMEM;
    *snapshot = (struct memory_snapshot){.base = {.free = snapshot_free},
                                         .root = node_ref(memory_of(f)->root)};
    *out = &snapshot->base;
    return FILES_OK;
}

static enum files_error memory_restore(struct files *f, struct files_snapshot *snapshot) {
    struct memory_files *m = memory_of(f);
    if (snapshot->free != snapshot_free) return FILES_ESNAPSHOT;
    struct node *root = ((struct memory_snapshot *)snapshot)->root;
    enum files_error rc = check_quota(m, root->bytes, root->nodes);
    if (rc != FILES_OK) return rc;
    node_ref(root);
    node_unref(m->root);
    m->root = root;
    return FILES_OK;
}

static void memory_close(struct files *f) {
    node_unref(memory_of(f)->root);
    memory_of(f)->root = NULL;
}

static void memory_free(struct files *f) {
    free(f);
}

static const struct files_ops OPS = {
    .kind = "memory",
    .cheap_snapshots = true,
    .read = memory_read,
    .write = memory_write,
    .make_directory = memory_make_directory,
    .remove = memory_remove,
    .list = memory_list,
    .stat = memory_stat,
    .snapshot = memory_snapshot,
    .restore = memory_restore,
    .close = memory_close,
    .free = memory_free,
};

struct files *files_memory_new(uint64_t quota_bytes, files_clock_fn now_ms, void *user) {
    struct memory_files *m = malloc(sizeof *m);
    if (!m) return NULL;
    *m = (struct memory_files){.quota_bytes = quota_bytes, .now_ms = now_ms, .user = user};
    files_init(&m->base, &OPS);
    m->root = node_new_directory("", 0, now_ms(user));
    if (m->root) return &m->base;
    free(m);
    return NULL;
}
