#!/usr/bin/env bash
# setup.sh - installs the Debian packages that a job of the Makefile needs.
#
#   spec/support/setup.sh build|test|check|fuzz|bench|coverage...
#
# Quick when nothing is missing: the package database is only asked when it, this file or the jobs
# have changed since the last time (a stamp under build/ tells). What is missing is installed by
# apt-get, as root or through sudo; someone who can do neither is told the one command to run.
#
# An entry `package` is looked up in the package database, `package/command` is content with the
# command, wherever it comes from (somebody's own Node, say).
set -eu
cd "$(dirname "$0")/../.."

packages_for() {
  case $1 in
    build) echo gcc/gcc binutils/objcopy libc6-dev make/make pkg-config/pkg-config ca-certificates \
      libuv1-dev libcurl4-openssl-dev libcjson-dev liblua5.4-dev libpcre2-dev libyaml-dev libedit2 \
      libseccomp-dev ;;
    test) echo lua-busted lua5.4/lua5.4 json-schema-test-suite locales nodejs/node npm/npm \
      openssl/openssl procps/pgrep groff-base/groff g++/g++ binutils/objdump bubblewrap/bwrap ;;
    check) echo clang-14/clang-14 clang-tidy-14/clang-tidy-14 clang-format-14/clang-format-14 \
      cppcheck/cppcheck lua-check/luacheck shellcheck/shellcheck ;;
    fuzz) echo clang-14/clang-14 libclang-rt-14-dev ;;
    bench) echo valgrind/valgrind lua5.4/lua5.4 lua-cjson nodejs/node npm/npm bubblewrap/bwrap ;;
    coverage) echo gcovr/gcovr ;;
    *) echo "setup.sh: unknown job '$1' (build, test, check, fuzz, bench, coverage)" >&2; exit 2 ;;
  esac
}

installed() { # of the package names given, those that are installed
  dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p'
}

missing() { # the packages that have to be installed for the jobs given
  wanted=
  for job in "$@"; do
    entries=$(packages_for "$job") || exit 2
    for entry in $entries; do
      case $entry in
        */*) command -v "${entry#*/}" >/dev/null 2>&1 || echo "${entry%/*}" ;;
        *) wanted="$wanted $entry" ;;
      esac
    done
  done
  [ -n "$wanted" ] || return 0
  # shellcheck disable=SC2086 # a list of words
  have=$(installed $wanted)
  for package in $wanted; do
    printf '%s\n' "$have" | grep -qx "$package" || echo "$package"
  done
}

install() {
  command="apt-get install -y --no-install-recommends $*"
  if [ "$(id -u)" = 0 ]; then
    as_root=
  elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=sudo
  else
    echo "harness-lua needs packages that are not installed. As root, run:" >&2
    echo "  apt-get update && $command" >&2
    exit 1
  fi
  mkdir -p build
  log=build/setup.log
  echo "installing with apt-get: $*"
  : >$log
  apt() { # with all its output in the log
    # shellcheck disable=SC2086 # sudo, or no word at all
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>$log 2>&1
  }
  # Lists of packages may be absent or old: the first failure fetches them, the second one counts.
  apt install -y --no-install-recommends "$@" || {
    echo "fetching the lists of packages" | tee -a $log
    apt update -o APT::Update::Error-Mode=any && apt install -y --no-install-recommends "$@"
  } || {
    tail -n 15 $log >&2
    echo "setup: apt-get failed (all of it: $log); the command was: $command" >&2
    exit 1
  }
}

[ $# -gt 0 ] || set -- build
stamp="build/.setup-$(echo "$*" | tr ' ' '-')"
database=/var/lib/dpkg/status
if [ -e "$stamp" ] && [ "$stamp" -nt "$0" ] && [ "$stamp" -nt "$database" ]; then exit 0; fi

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "setup: not a Debian system; these have to be there: $(for j in "$@"; do packages_for "$j"; done | tr '\n' ' ')"
  exit 0
fi

list=$(missing "$@")
# shellcheck disable=SC2086 # a list of words
[ -z "$list" ] || install $list
still=$(missing "$@")
[ -z "$still" ] || { echo "setup: still missing: $still" >&2; exit 1; }
mkdir -p build
: >"$stamp"
