#!/usr/bin/env bash
# coverage.sh - what the specs reach: branches of the C files (gcov), lines of the Lua modules
# (coverage.c). Made for `make coverage`, which has built build/cov/harness-lua.
set -eu
cd "$(dirname "$0")/../.."
export HARNESS_COVERAGE=$PWD/build/cov/lines
rm -rf "$HARNESS_COVERAGE"
mkdir -p "$HARNESS_COVERAGE"
find build/obj/cov -name '*.gcda' -delete
status=0
HARNESS_SPEC_FACTOR=${FACTOR:-10} HARNESS_SPEC_TIMEOUT=900 spec/support/run.sh build/cov/harness-lua "$@" || status=1
for part in engine bindings sandbox; do
  ls $part/*.c >/dev/null 2>&1 || continue
  echo
  echo "$part/: branches"
  gcovr --root . --object-directory build/obj/cov --filter "$part/" --branches \
    --exclude-unreachable-branches --gcov-ignore-parse-errors | sed '1,4d'
done
echo
lua5.4 spec/support/coverage.lua "$HARNESS_COVERAGE"
exit $status
