#!/usr/bin/env bash
# check.sh - the linters, all of them, whatever the first one says. Made for `make check`, which
# has compiled everything with warnings as errors before, and gives CFLAGS.
set -u
cd "$(dirname "$0")/../.." || exit 2

mapfile -t sources < <(ls engine/*.c bindings/*.c sandbox/*.c sandbox/jail/*.c sandbox/jail/filter/*.c 2>/dev/null)
mapfile -t fuzzers < <(ls spec/fuzz/*.c spec/embed/*.[ch] spec/sandbox/*.c examples/*.c 2>/dev/null)
mapfile -t headers < <(ls engine/*.h bindings/*.h sandbox/*.h sandbox/jail/*.h sandbox/jail/filter/*.h 2>/dev/null)
mapfile -t scripts < <(ls spec/support/*.sh spec/bench/*.sh bindings/*.sh examples/*.sh .ci/run 2>/dev/null)
bad=0

# Runs one linter; what it prints is shown only when it is not content.
step() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then
    echo "ok   $name"
  else
    echo "FAIL $name"
    printf '%s\n' "$out"
    bad=1
  fi
}

tidy() { # one process a file, two at a time; without the path that led the analyzer to its finding
  local out status=0
  # shellcheck disable=SC2086 # a list of flags
  out=$(printf '%s\n' "${sources[@]}" | xargs -P "${JOBS:-2}" -I '{}' \
    clang-tidy-14 --quiet '{}' -- $CFLAGS -Ibuild/obj/strict/sandbox/jail -Wno-unknown-warning-option 2>&1) || status=1
  printf '%s\n' "$out" | grep -A 1 -E ' (error|warning): ' || true
  return $status
}

# Rules of the project that a pattern can see: each line found is a breach.
rules() {
  ! {
    grep -nE '#include *[<"](lua|lauxlib|lualib)\.h' engine/*.[ch] | sed 's/^/engine knows no Lua: /'
    grep -rnwE 'TODO|FIXME|XXX|HACK' engine bindings lua sandbox examples | sed 's/^/unfinished: /'
    grep -n '"resolved"' spec/*/package-lock.json | sed 's/^/a lock names its registry: /'
  } | grep .
}

step "clang-format" clang-format-14 --dry-run -Werror "${sources[@]}" "${headers[@]}" "${fuzzers[@]}"
step "clang-tidy" tidy
step "cppcheck" cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
  --suppress=missingIncludeSystem --error-exitcode=1 -j 2 "${sources[@]}"
step "luacheck" luacheck -q .
step "shellcheck" shellcheck -S warning "${scripts[@]}"
step "annotations" lua5.4 spec/support/annotations.lua lua/harness
step "rules" rules
exit $bad
