#!/usr/bin/env bash
# fuzz.sh - runs the fuzzers, and shows that each of them finds a bug planted for it.
#
#   spec/support/fuzz.sh SECONDS [PART]...        (default: every spec/fuzz/fuzz_<part>.c)
#
# Made for `make fuzz`, which builds build/fuzz/libfuzzed.a (everything of ours but main.c, with
# coverage and sanitizers) and gives CC, CFLAGS and LIBS.
#
# A fuzzer starts from spec/fuzz/corpus/<part>; what it finds goes to build/fuzz/corpus/<part>, an
# input that fails to build/fuzz/failure-<part>-*. spec/fuzz/<part>.dict is its dictionary, if any.
# The planted bug is spec/fuzz/plant/<part>.sed, applied to a copy of engine/<part>.c or
# bindings/<part>.c (or to what a line `# file: PATH` in it names): it must change the file, and the
# fuzzer must find it within the same time, or within 30 seconds where that is longer: a busy machine
# gets through fewer executions in a short run, and the search ends with the find. FUZZ_SEED fixes the random seed of both runs.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
out=build/fuzz

# One line about a finished run: executions, edges (cov), features (ft), inputs kept.
summary() {
  awk '
    /^stat::number_of_executed_units/ { runs = $2 }
    match($0, / cov: [0-9]+/) { cov = substr($0, RSTART + 6, RLENGTH - 6) }
    match($0, / ft: [0-9]+/) { ft = substr($0, RSTART + 5, RLENGTH - 5) }
    END { printf "%d executions, %d edges, %d features", runs, cov, ft }' "$1"
}

# Links the fuzzer of a part; an object given comes before the archive and replaces its member.
link() {
  local part=$1 program=$2
  shift 2
  # shellcheck disable=SC2086 # lists of words
  $CC $CFLAGS -fsanitize=fuzzer -o "$program" "spec/fuzz/fuzz_$part.c" "$@" $out/libfuzzed.a $LIBS
}

# Runs a fuzzer; status 0 when it came to its end, else it has found something.
run() {
  local part=$1 program=$2 corpus=$3 seconds=$4 log=$5
  local flags=("-max_total_time=$seconds" -print_final_stats=1 -timeout=10 -rss_limit_mb=1024
    -use_value_profile=1 "-artifact_prefix=$out/failure-$(basename "$program")-")
  [ ! -e "spec/fuzz/$part.dict" ] || flags+=("-dict=spec/fuzz/$part.dict")
  [ -z "${FUZZ_SEED-}" ] || flags+=("-seed=$FUZZ_SEED")
  local seeds=()
  [ ! -d "spec/fuzz/corpus/$part" ] || seeds=("spec/fuzz/corpus/$part")
  mkdir -p "$corpus"
  "$program" "${flags[@]}" "$corpus" "${seeds[@]}" >"$log" 2>&1
}

# The bug of a part, planted: builds its fuzzer with it and looks for it.
plant() {
  local part=$1 seconds=$(($2 > 30 ? $2 : 30)) script=spec/fuzz/plant/$1.sed source copy
  local log=$out/plant-$part.log program=$out/plant-$part object=$out/plant-$part.o
  source=$(sed -n 's/^# file: *//p' "$script")
  for copy in engine/"$part".c bindings/"$part".c; do
    [ -n "$source" ] || [ ! -f "$copy" ] || source=$copy
  done
  [ -f "$source" ] || { echo "fuzz: $script names no file, and there is no $part.c"; return 1; }
  copy=$out/plant-$part.c
  sed -f "$script" "$source" >"$copy"
  ! cmp -s "$source" "$copy" || { echo "fuzz: $script changes nothing in $source"; return 1; }
  # shellcheck disable=SC2086 # lists of words
  $CC $CFLAGS -iquote "$(dirname "$source")" -c -o "$object" "$copy"
  link "$part" "$program" "$object"
  local start=$SECONDS
  rm -rf "$out/plant-corpus-$part"
  if run "$part" "$program" "$out/plant-corpus-$part" "$seconds" "$log"; then
    echo "$part: PLANTED BUG NOT FOUND in $seconds s ($(summary "$log"); $script)"
    return 1
  fi
  grep -q '^SUMMARY:' "$log" || { tail -n 5 "$log"; echo "$part: the fuzzer with the bug did not run"; return 1; }
  echo "$part: planted bug found after $((SECONDS - start)) s ($(summary "$log")): $(sed -n 's/^SUMMARY: //p' "$log" | head -n 1)"
  rm -f "$out"/failure-plant-"$part"-*
}

one() {
  local part=$1 seconds=$2 log=$out/$1.log
  link "$part" "$out/fuzz-$part"
  if ! run "$part" "$out/fuzz-$part" "$out/corpus/$part" "$seconds" "$log"; then
    grep -vE '^(#|INFO:)' "$log" | tail -n 40
    echo "$part: FAILED ($log; the input: $(ls $out/failure-fuzz-"$part"-* 2>/dev/null | tail -n 1))"
    return 1
  fi
  echo "$part: $(summary "$log") in $seconds s"
  if [ -e "spec/fuzz/plant/$part.sed" ]; then plant "$part" "$seconds"; fi
}

if [ "$1" = --one ]; then one "$3" "$2"; exit; fi

seconds=$1
shift
if [ $# = 0 ]; then
  for file in spec/fuzz/fuzz_*.c; do
    part=${file#spec/fuzz/fuzz_}
    set -- "$@" "${part%.c}"
  done
fi
mkdir -p $out
# Two at a time; the status is that of the worst.
printf '%s\n' "$@" | xargs -P "${JOBS:-2}" -I '{}' "$0" --one "$seconds" '{}'
