/* fuzz_grep.c - scanning a text finds the lines that PCRE2 finds when it is given each line by itself,
 * from its start; and tells the right numbers and places of them.
 *
 * Input: a byte of flags (1: ignore case, 2: few different bytes), one for the length of the pattern,
 * the pattern, the text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/grep.h"

enum { HEAD = 2, MAX_TEXT = 300 };

static struct pcre2_api api;

static void check(bool ok) {
    if (!ok) abort();
}

static pcre2_code *compile(const char *pattern, size_t len, bool ignore_case) {
    pcre2_compile_context *context = api.compile_context_create(NULL);
    check(context != NULL);
    api.set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    uint32_t options =
        PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_AUTO_CALLOUT | PCRE2_NEVER_BACKSLASH_C;
    if (ignore_case) options |= PCRE2_CASELESS;
    int code;
    size_t offset;
    pcre2_code *compiled = api.compile((PCRE2_SPTR)pattern, len, options, &code, &offset, context);
    api.compile_context_free(context);
    return compiled;
}

struct oracle {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

/* 1: the line matches, 0: it does not, -1: nobody knows. */
static int matches(struct oracle *oracle, const char *line, size_t len) {
    int rc = api.match(oracle->code, (PCRE2_SPTR)line, len, 0, 0, oracle->data, oracle->context);
    return rc >= 0 ? 1 : rc == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

/* Goes through the lines of the text and holds each against what the grep says. */
static void compare(struct grep *g, struct oracle *oracle, const char *text, size_t len) {
    struct grep_scan scan = {.text = text, .len = len};
    struct grep_hit hit;
    int rc = grep_next(g, &scan, &hit);
    size_t line = 1;
    for (size_t at = 0; at < len; line++) {
        const char *lf = memchr(text + at, '\n', len - at);
        size_t end = lf ? (size_t)(lf - text) : len;
        int wanted = matches(oracle, text + at, end - at);
        if (wanted < 0 || rc < 0) return;
        bool found = rc == GREP_HIT && hit.line == line;
        check(found == (wanted == 1));
        if (found) {
            check(hit.start == at && hit.end == end);
            rc = grep_next(g, &scan, &hit);
        }
        at = end + 1;
    }
    check(rc != GREP_HIT);
}

/* A copy that ends where its memory does; with few, of bytes that make matches likely. */
static char *copy(const uint8_t *bytes, size_t n, const char *alphabet) {
    char *own = malloc(n ? n : 1);
    check(own != NULL);
    for (size_t i = 0; i < n; i++)
        own[i] = alphabet ? alphabet[bytes[i] % strlen(alphabet)] : (char)bytes[i];
    return own;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    char why[PCRE2_WHY_SIZE];
    check(pcre2_api_load(&api, why));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < HEAD) return 0;
    bool ignore_case = bytes[0] & 1, few = bytes[0] & 2;
    size_t pn = bytes[1] < size - HEAD ? bytes[1] : size - HEAD;
    size_t tn = size - HEAD - pn;
    if (tn > MAX_TEXT) return 0;
    char *pattern = copy(bytes + HEAD, pn, few ? "aabA.*+?^$|()[]{}1,\\wsGb\xc3\xa9" : NULL);
    char *text = copy(bytes + HEAD + pn, tn, few ? "aabAB \n\n\r\xc3\xa9\xa9" : NULL);

    struct grep *g;
    char why[GREP_WHY_SIZE];
    int rc = grep_compile(&api, pattern, pn, ignore_case ? GREP_IGNORE_CASE : 0, &g, why);
    if (rc == GREP_OK) {
        struct oracle oracle = {
            .code = compile(pattern, pn, ignore_case),
            .data = api.match_data_create(1, NULL),
            .context = api.match_context_create(NULL),
        };
        check(oracle.code && oracle.data && oracle.context);
        api.set_match_limit(oracle.context, 20000);
        api.set_depth_limit(oracle.context, 10000);
        compare(g, &oracle, text, tn);
        api.code_free(oracle.code);
        api.match_data_free(oracle.data);
        api.match_context_free(oracle.context);
        grep_free(g);
    } else {
        check(rc == GREP_EPATTERN && memchr(why, '\0', sizeof why) != NULL);
    }
    free(pattern);
    free(text);
    return 0;
}
