#!/bin/sh
# demo.sh - the main job in a few seconds: an agent that calls tools, streamed as it happens.
# `make demo` builds harness-lua and runs this.
set -eu
cd "$(dirname "$0")/.."
harness=${HARNESS_LUA:-build/harness-lua}
question='Where are orders 7 and 8?'

if [ -n "${OPENAI_API_KEY-}${OPENAI_BASE_URL-}" ]; then
  model="on the model ${OPENAI_MODEL:-gpt-5-mini} of ${OPENAI_BASE_URL:-api.openai.com}"
else
  model='offline, on canned turns; set OPENAI_API_KEY or OPENAI_BASE_URL for a real model'
fi

cat <<TEXT
examples/support.lua defines an agent, helper, with one tool, find_order ($model).
Its run is shown as it happens: the tool calls with their time, then the answer as the model writes it.

\$ $harness run examples/support.lua helper "$question"
TEXT
"$harness" run --progress examples/support.lua helper "$question"
cat <<TEXT

Next: the same with --stream (every event as JSON), $harness inspect examples/support.lua, README.md.
TEXT
