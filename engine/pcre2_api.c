/* pcre2_api.c - dlopen and a table of names; and the meter. */
#include "pcre2_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum {
    TEXT_PER_STEP = 16,  /* bytes passed between two callouts */
    SPAN_PER_STEP = 1024 /* bytes of the match so far: what a back reference may compare */
};

static bool find_functions(void *library, struct pcre2_api *api, char *why) {
    const struct {
        const char *name;
        void *slot;
    } FUNCTIONS[] = {
        {"pcre2_compile_8", &api->compile},
        {"pcre2_code_free_8", &api->code_free},
        {"pcre2_compile_context_create_8", &api->compile_context_create},
        {"pcre2_compile_context_free_8", &api->compile_context_free},
        {"pcre2_set_compile_extra_options_8", &api->set_extra_options},
        {"pcre2_set_newline_8", &api->set_newline},
        {"pcre2_match_8", &api->match},
        {"pcre2_match_data_create_8", &api->match_data_create},
        {"pcre2_match_data_free_8", &api->match_data_free},
        {"pcre2_get_ovector_pointer_8", &api->get_ovector_pointer},
        {"pcre2_match_context_create_8", &api->match_context_create},
        {"pcre2_match_context_free_8", &api->match_context_free},
        {"pcre2_set_callout_8", &api->set_callout},
        {"pcre2_set_match_limit_8", &api->set_match_limit},
        {"pcre2_set_depth_limit_8", &api->set_depth_limit},
        {"pcre2_set_heap_limit_8", &api->set_heap_limit},
        {"pcre2_pattern_info_8", &api->pattern_info},
        {"pcre2_get_error_message_8", &api->error_message},
        {"pcre2_config_8", &api->config},
    };
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
        void *found = dlsym(library, FUNCTIONS[i].name);
        if (!found) {
            snprintf(why, PCRE2_WHY_SIZE, "it has no %s", FUNCTIONS[i].name);
            return false;
        }
        /* POSIX promises that a data pointer holds a function; C has no cast that says so. */
        memcpy(FUNCTIONS[i].slot, &found, sizeof found);
    }
    return true;
}

bool pcre2_api_load(struct pcre2_api *api, char why[PCRE2_WHY_SIZE]) {
    void *library = dlopen("libpcre2-8.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library) return find_functions(library, api, why);
    const char *problem = dlerror();
    snprintf(why, PCRE2_WHY_SIZE, "%s", problem ? problem : "it cannot be loaded");
    return false;
}

int pcre2_take_steps(pcre2_callout_block *block, void *data) {
    struct pcre2_meter *meter = data;
    size_t now = block->current_position;
    size_t passed = now > meter->position ? now - meter->position : 0;
    meter->position = now;
    size_t span = now > block->start_match ? now - block->start_match : 0;
    meter->left -= (int64_t)(1 + passed / TEXT_PER_STEP + span / SPAN_PER_STEP);
    return meter->left < 0 ? PCRE2_ERROR_CALLOUT : 0;
}
