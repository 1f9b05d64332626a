/* store_memory.h - the storage engine that keeps everything in the process's memory.
 *
 *     struct store *store = store_memory_new(&(struct store_memory_options){.loop = loop});
 *     store_submit(store, &call, &reply);           // always finished when this returns
 *     store_close(store);
 *
 * For tests and for what may be thrown away. It serves sessions, messages, runs, events, memory and
 * sweep; the methods of durable runs, waits, work, workspaces and blobs are STORE_ENOTSUP.
 *
 * What an operation costs depends on its own session, run or memory scope only: not on how many
 * others there are. list_runs over all sessions walks from the newest run (or the cursor) until the
 * limit is reached. Searching reads the whole scope.
 *
 * Words, for memory_search, are runs of letters and digits in the key and in the JSON text of the
 * value (field names included), compared without case (Latin, Greek and Cyrillic letters), cut at
 * 64 bytes; a CJK character is a word by itself. Of a query the first 256 different words count.
 * An entry that holds more of the words scores higher, then one that holds them more often. */
#ifndef HARNESS_ENGINE_STORE_MEMORY_H
#define HARNESS_ENGINE_STORE_MEMORY_H

#include "loop.h"
#include "map.h"
#include "store.h"

struct store_memory_options {
    struct loop *loop;          /* whose clock entries of memory expire by; outlives the store */
    struct allocator allocator; /* fn NULL: malloc. All memory comes from here, and goes back there
                                   when the store is closed and its last reply cleared */
};

extern const struct store_ops store_memory_ops;

/* NULL: no memory, or no random numbers from the system. */
struct store *store_memory_new(const struct store_memory_options *options);

#endif
