#!/usr/bin/env bash
# with_server.sh COMMAND... - runs a command while build/bench/mock_openai answers on MODEL_PORT.
set -eu
exec 3< <(exec build/bench/mock_openai -n "${MODEL_EVENTS:-200}")
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r _ MODEL_PORT <&3
export MODEL_PORT
ulimit -n 8192 2>/dev/null || true
"$@"
