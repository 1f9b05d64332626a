#!/usr/bin/env bash
# run.sh - runs spec files inside our interpreter, each in a process of its own.
#
#   spec/support/run.sh INTERPRETER [FILE or DIRECTORY]...       (default: spec)
#
# Two run at a time (JOBS); output comes in the order of the files. A file may take
# HARNESS_SPEC_TIMEOUT seconds (default 300): one that hangs is stopped, and counts as a failure
# under the name of the test that hung. A process that dies, or that ends badly after its tests
# (a leak found by the sanitizer at exit), is a failure too, and so is a child process that a spec
# leaves behind. TIMES=1 lists the slowest tests.
# Where bubblewrap may make no namespaces (a chroot, most containers) the files that begin with
# `-- needs: user namespaces` are skipped, and counted.
# The last line is `N passed, N failed`, with `, N skipped` when there are any.
set -u
cd "$(dirname "$0")/../.." || exit 2

interpreter=${1:?usage: run.sh INTERPRETER [SPEC]...}
shift
[ $# -gt 0 ] || set -- spec
jobs=${JOBS:-2}
limit=${HARNESS_SPEC_TIMEOUT:-300}
busted=$(command -v busted) || { echo "run.sh: busted is not installed" >&2; exit 2; }
[ -x "$interpreter" ] || { echo "run.sh: no interpreter $interpreter" >&2; exit 2; }

export HARNESS_LUA=$PWD/${interpreter#"$PWD"/}
export HARNESS_NODE_MODULES=$PWD/build/peers/test/node_modules
export PATH=$PWD/build/peers/test/node:$PATH
export LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;"
unset LUA_PATH_5_4 LUA_CPATH_5_4 LUA_INIT LUA_INIT_5_4

mapfile -t files < <(find "$@" -name '*_spec.lua' | sort)
[ ${#files[@]} -gt 0 ] || { echo "no spec file in: $*"; echo "0 passed, 0 failed"; exit 1; }

work=$(mktemp -d)
mkfifo "$work/ended"
exec 3<>"$work/ended"
declare -a status=()
trap 'rm -rf "$work"' EXIT
trap 'kill $(cat "$work"/*.group) 2>/dev/null; exit 130' INT TERM

# Runs one file, and says in the pipe that it has ended. timeout makes itself the leader of a
# process group, so what a spec started is in that group.
run_file() {
  local index=$1 group code
  HARNESS_SPEC_RESULT=$work/$index.result timeout -k 10 "$limit" \
    "$HARNESS_LUA" "$busted" -o spec/support/report.lua "${files[index]}" \
    >"$work/$index.out" 2>&1 </dev/null 3>&- &
  group=$!
  echo $group >"$work/$index.group"
  wait $group 2>/dev/null
  code=$?
  rm "$work/$index.group"
  left_behind $group >"$work/$index.left" || rm "$work/$index.left"
  echo "$index $code" >&3
}

# Processes of a finished file's group that are still there after a second of grace; they are ended.
# A zombie waits for nobody but its new parent, which may take its time.
left_behind() {
  local group=$1 names
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    pgrep -r D,R,S,T,t,I -g "$group" >/dev/null || return 1
    sleep 0.1
  done
  names=$(pgrep -r D,R,S,T,t,I -l -g "$group" | awk '{print $2}' | paste -sd' ')
  kill -KILL -- "-$group" 2>/dev/null
  printf '%s\n' "$names"
}

passed=0 failed=0 skipped=0

# Takes the files out that cannot work here.
leave_out_isolated() {
  local why file kept=()
  why=$(bwrap --unshare-user --unshare-pid --ro-bind / / --proc /proc true 2>&1) && return
  for file in "${files[@]}"; do
    if head -n 1 "$file" | grep -q '^-- needs: user namespaces'; then
      echo "skip $file"
      skipped=$((skipped + 1))
    else
      kept+=("$file")
    fi
  done
  files=("${kept[@]}")
  [ $skipped = 0 ] || echo "skipped, since commands cannot be isolated here ($why): in a chroot or a container user" \
    "namespaces have to be allowed (docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
}
leave_out_isolated

# Adds up one file's results and prints its line, and what it wrote.
report() {
  local index=$1 result=$work/$1.result out=$work/$1.out code=${status[$1]} ok=0 bad=0 skip=0 seconds=0 why=
  touch "$result"
  read -r ok bad skip seconds < <(awk '
    $1 == "end" { n[$2]++; t += $3 }
    END { printf "%d %d %d %.2f\n", n["success"], n["failure"] + n["error"], n["pending"], t }' "$result")
  local last
  last=$(awk '$1 == "start" { $1 = ""; name = $0 } $1 == "end" { name = "" } END { print name }' "$result")
  if [ "$code" = 124 ] || [ "$code" = 137 ]; then
    why="still running after $limit seconds${last:+, in:$last}"
  elif ! grep -qx 'done' "$result"; then
    why="ended with status $code before its end${last:+, in:$last}"
  elif [ "$code" != 0 ] && [ "$bad" = 0 ]; then
    why="ended with status $code after its tests"
  elif [ -e "$work/$index.left" ]; then
    why="left processes behind: $(cat "$work/$index.left")"
  elif [ $((ok + bad + skip)) = 0 ]; then
    why="has no tests"
  fi
  local word=ok tests=$((ok + bad + skip))
  [ -z "$why" ] || bad=$((bad + 1))
  [ "$bad" = 0 ] || word=FAIL
  printf '%-4s %s  %d tests, %s s\n' $word "${files[index]}" $tests "$seconds"
  sed 's/^/     /' "$out"
  [ -z "$why" ] || printf '     FAILED %s: %s\n' "${files[index]}" "$why"
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

next=0 running=0 printed=0
while [ $printed -lt ${#files[@]} ]; do
  while [ $running -lt "$jobs" ] && [ $next -lt ${#files[@]} ]; do
    run_file $next &
    next=$((next + 1)) running=$((running + 1))
  done
  read -r index code <&3
  status[index]=$code running=$((running - 1))
  while [ -n "${status[printed]-}" ]; do
    report $printed
    printed=$((printed + 1))
  done
done

if [ -n "${TIMES-}" ]; then
  echo "slowest tests:"
  sed -n 's/^end [a-z]* //p' "$work"/*.result | sort -rn | head -n 10 | sed 's/^/  /'
fi
[ -z "${HARNESS_SPEC_FACTOR-}" ] || echo "the counts of heavy specs were divided by $HARNESS_SPEC_FACTOR"
echo "$passed passed, $failed failed$([ $skipped = 0 ] || echo ", $skipped skipped")"
[ $failed = 0 ] && [ $passed -gt 0 ]
