/* process_start.h - the starter of child processes on uv_spawn. See struct process_starter. */
#ifndef HARNESS_ENGINE_PROCESS_START_H
#define HARNESS_ENGINE_PROCESS_START_H

#include "process.h"

struct process_starter process_uv_starter(void);

#endif
