/* pcre2_api.h - PCRE2, loaded at its first use, and the meter that bounds a match.
 *
 *     struct pcre2_api api;
 *     char why[PCRE2_WHY_SIZE];
 *     if (!pcre2_api_load(&api, why)) ...                 // why: a phrase for a person
 *     struct pcre2_meter meter = {.left = 100000};
 *     api.set_callout(matching, pcre2_take_steps, &meter);
 *     int rc = api.match(...);                            // PCRE2_ERROR_CALLOUT: nothing left
 *
 * Linking PCRE2 costs 0.4 ms at every start of the program. The table belongs to whoever loads it:
 * bindings keep one for each Lua state.
 *
 * A pattern can take exponential time, and PCRE2's own limits count anew at each place where a match
 * may start. So patterns are compiled with PCRE2_AUTO_CALLOUT, and the meter is asked before each
 * item that is tried: it takes one step, and more for long stretches of text passed in between. */
#ifndef HARNESS_ENGINE_PCRE2_API_H
#define HARNESS_ENGINE_PCRE2_API_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PCRE2_WHY_SIZE = 200 };

struct pcre2_api {
    pcre2_code *(*compile)(PCRE2_SPTR, PCRE2_SIZE, uint32_t, int *, PCRE2_SIZE *,
                           pcre2_compile_context *);
    void (*code_free)(pcre2_code *);
    pcre2_compile_context *(*compile_context_create)(pcre2_general_context *);
    void (*compile_context_free)(pcre2_compile_context *);
    int (*set_extra_options)(pcre2_compile_context *, uint32_t);
    int (*set_newline)(pcre2_compile_context *, uint32_t);
    int (*match)(const pcre2_code *, PCRE2_SPTR, PCRE2_SIZE, PCRE2_SIZE, uint32_t,
                 pcre2_match_data *, pcre2_match_context *);
    pcre2_match_data *(*match_data_create)(uint32_t, pcre2_general_context *);
    void (*match_data_free)(pcre2_match_data *);
    PCRE2_SIZE *(*get_ovector_pointer)(pcre2_match_data *);
    pcre2_match_context *(*match_context_create)(pcre2_general_context *);
    void (*match_context_free)(pcre2_match_context *);
    int (*set_callout)(pcre2_match_context *, int (*)(pcre2_callout_block *, void *), void *);
    int (*set_match_limit)(pcre2_match_context *, uint32_t);
    int (*set_depth_limit)(pcre2_match_context *, uint32_t);
    int (*set_heap_limit)(pcre2_match_context *, uint32_t);
    int (*pattern_info)(const pcre2_code *, uint32_t, void *);
    int (*error_message)(int, PCRE2_UCHAR *, PCRE2_SIZE);
    int (*config)(uint32_t, void *);
};

/* Fills the table. False when PCRE2 is not there or lacks a function; `why` says which. The library
 * is never unloaded. */
bool pcre2_api_load(struct pcre2_api *api, char why[PCRE2_WHY_SIZE]);

struct pcre2_meter {
    int64_t left;    /* steps; below zero when a match was ended for the lack of them */
    size_t position; /* at the last callout; 0 before a match */
};

/* The callout; `data` is the meter. */
int pcre2_take_steps(pcre2_callout_block *block, void *data);

#endif
