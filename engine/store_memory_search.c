/* store_memory_search.c - full text over one scope: every entry's words against those of the query.
 *
 * There is no index: a scope is small, and reading it costs nothing while nobody searches. The
 * query's words stand sorted in a fixed table, so that a search needs no memory but for its hits.
 * Score = (m + f / (f + 1)) / (n + 1), where n is the number of the query's words, m how many of
 * them the entry holds, and f how often it holds any of them beyond the first time. */
#include <stdlib.h>
#include <string.h>

#include "store_memory_impl.h"

enum { WORD_MAX = 64, QUERY_MAX = 256 };

struct word {
    size_t len;
    char bytes[WORD_MAX];
};

struct query {
    struct word words[QUERY_MAX];
    size_t count;
};

struct text {
    const char *at;
    const char *end;
    bool json; /* a backslash begins an escape, which separates words */
};

/* ---- Words --------------------------------------------------------------------------- */

/* Decodes the UTF-8 sequence at p; a broken one is read as one byte. Returns its length. */
static size_t decode(const char *p, const char *end, uint32_t *code) {
    const unsigned char *s = (const unsigned char *)p;
    *code = s[0];
    if (s[0] < 0xc2 || s[0] > 0xf4) return 1;
    size_t len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if ((size_t)(end - p) < len) return 1;
    uint32_t value = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 1;
        value = (value << 6) | (s[i] & 0x3fu);
    }
    *code = value;
    return len;
}

/* Latin-1, Latin Extended-A, Greek and Cyrillic capitals to small letters; all of them stay two
 * bytes in UTF-8 (Unicode 15, CaseFolding.txt). */
static uint32_t fold(uint32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    if (c >= 0xc0 && c <= 0xde) return c == 0xd7 ? c : c + 32;
    if ((c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) || (c >= 0x14a && c <= 0x177)) {
        return c | 1;
    }
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e)) return c + (c & 1);
    if (c == 0x178) return 0xff;
    if (c == 0x386) return 0x3ac;
    if (c >= 0x388 && c <= 0x38a) return c + 37;
    if (c == 0x38c) return 0x3cc;
    if (c == 0x38e || c == 0x38f) return c + 63;
    if (c >= 0x391 && c <= 0x3ab) return c + 32;
    if (c == 0x3c2) return 0x3c3; /* the sigma at the end of a word */
    if (c >= 0x400 && c <= 0x40f) return c + 80;
    if (c >= 0x410 && c <= 0x42f) return c + 32;
    if ((c >= 0x460 && c <= 0x481) || (c >= 0x48a && c <= 0x4bf)) return c | 1;
    return c;
}

static bool is_word(uint32_t c) {
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c < 0xc0) return c == 0xaa || c == 0xb5 || c == 0xba;
    if (c == 0xd7 || c == 0xf7) return false;
    if (c >= 0x2000 && c <= 0x2bff) return false; /* punctuation, symbols, arrows */
    if (c >= 0x3000 && c <= 0x303f) return c >= 0x3005 && c <= 0x3007;
    return !(c >= 0xff00 && c <= 0xff0f);
}

static bool is_cjk(uint32_t c) {
    return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x9fff) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3ffff);
}

static void word_add(struct word *word, const char *bytes, size_t len) {
    if (word->len + len > WORD_MAX) len = WORD_MAX - word->len;
    memcpy(word->bytes + word->len, bytes, len);
    word->len += len;
}

static void word_add_folded(struct word *word, const char *bytes, size_t len, uint32_t code) {
    uint32_t folded = fold(code);
    char two[2] = {(char)folded, 0};
    if (folded == code) {
        word_add(word, bytes, len);
    } else if (folded < 0x80) {
        word_add(word, two, 1);
    } else {
        two[0] = (char)(0xc0 | (folded >> 6));
        two[1] = (char)(0x80 | (folded & 0x3f));
        word_add(word, two, 2);
    }
}

/* The next word of the text; false at its end. */
static bool next_word(struct text *text, struct word *word) {
    word->len = 0;
    while (text->at < text->end) {
        uint32_t code;
        size_t len = decode(text->at, text->end, &code);
        if (text->json && code == '\\') {
            if (word->len > 0) return true;
            len = text->end - text->at > 1 && text->at[1] == 'u' ? 6 : 2;
            text->at += len < (size_t)(text->end - text->at) ? len : (size_t)(text->end - text->at);
            continue;
        }
        bool alone = is_cjk(code);
        if (word->len > 0 && (alone || !is_word(code))) return true;
        if (is_word(code)) word_add_folded(word, text->at, len, code);
        text->at += len;
        if (alone) return true;
    }
    return word->len > 0;
}

static int word_cmp(const void *a, const void *b) {
    const struct word *x = a;
    const struct word *y = b;
    return store_str_cmp((struct store_str){x->bytes, x->len},
                         (struct store_str){y->bytes, y->len});
}

static void query_init(struct query *query, struct store_str text) {
    query->count = 0;
    struct text rest = {text.data, text.data + text.len, false};
    struct word word;
    while (query->count < QUERY_MAX && next_word(&rest, &word)) {
        size_t at = query->count;
        int order = 1;
        while (at > 0 && (order = word_cmp(&query->words[at - 1], &word)) > 0) at--;
        if (at > 0 && order == 0) continue;
        memmove(&query->words[at + 1], &query->words[at],
                (query->count - at) * sizeof query->words[0]);
        query->words[at] = word;
        query->count++;
    }
}

/* ---- Matching ------------------------------------------------------------------------ */

static void count_words(const struct query *query, struct store_str text, bool json,
                        uint32_t *counts) {
    if (!text.data) return;
    struct text rest = {text.data, text.data + text.len, json};
    struct word word;
    while (next_word(&rest, &word)) {
        const struct word *found =
            bsearch(&word, query->words, query->count, sizeof word, word_cmp);
        if (found) counts[found - query->words]++;
    }
}

static double score_of(const struct query *query, const struct store_entry *entry) {
    uint32_t counts[QUERY_MAX] = {0};
    count_words(query, entry->key, false, counts);
    count_words(query, entry->value, true, counts);
    double matched = 0, further = 0;
    for (size_t i = 0; i < query->count; i++) {
        if (counts[i] == 0) continue;
        matched += 1;
        further += counts[i] - 1;
    }
    if (matched == 0) return 0;
    return (matched + further / (further + 1)) / ((double)query->count + 1);
}

/* Whether the JSON list or object holds this value (under this key). */
static bool holds(struct store_str json, struct store_str key, struct store_str value) {
    struct store_str k, v;
    for (size_t at = 0; store_json_next(json, &at, &k, &v);) {
        if (store_str_eq(k, key) && store_str_eq(v, value)) return true;
    }
    return false;
}

/* Whether every item of the wanted list or object is in the one that is there. */
static bool holds_all(struct store_str json, struct store_str wanted) {
    struct store_str k, v;
    for (size_t at = 0; store_json_next(wanted, &at, &k, &v);) {
        if (!holds(json, k, v)) return false;
    }
    return true;
}

static int row_cmp(const void *a, const void *b) {
    const struct memory_row *x = a;
    const struct memory_row *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return store_str_cmp(record_id(x->record), record_id(y->record));
}

enum store_error memory_kv_search(struct memory *m, const struct store_call *call,
                                  struct store_reply *reply) {
    const struct store_memory_call *in = &call->in.memory;
    const struct scope *scope = scope_find(m, in);
    if (!scope) return STORE_OK;
    struct query query;
    query_init(&query, in->text);
    int64_t now_ms = memory_now(m);
    for (uint32_t i = 0; i < scope->entries.count; i++) {
        struct record *record = scope->entries.items[i];
        struct store_entry entry;
        record_row(record, &entry);
        if (entry_expired(record, now_ms)) continue;
        if (!holds_all(entry.tags, in->tags) || !holds_all(entry.metadata, in->metadata)) continue;
        double score = score_of(&query, &entry);
        if (score == 0) continue;
        if (reply_add(m, reply, record) != STORE_OK) return STORE_ENOMEM;
        reply_rows(reply)[reply->count - 1].score = score;
    }
    if (reply->count > 1) qsort(reply->rows, reply->count, sizeof(struct memory_row), row_cmp);
    if (in->limit >= 0) reply_truncate(m, reply, (size_t)in->limit);
    return STORE_OK;
}
