#!/bin/sh
# peers.sh - installs the npm packages that specs (test) or measurements (bench) run against.
#
#   spec/support/peers.sh test|bench
#
# They go to build/peers/<what>/node_modules, as pinned by package.json and its lock here or in
# spec/bench. A run whose lock was installed before needs no network. Node 22 is one of the
# packages, since Debian 12's own is too old for the peers: callers put
# build/peers/<what>/node first in PATH.
set -eu
cd "$(dirname "$0")/../.."

case ${1-} in
  test) from=spec/support ;;
  bench) from=spec/bench ;;
  *) echo "usage: peers.sh test|bench" >&2; exit 2 ;;
esac
to=build/peers/$1
log=$to/npm.log

if cmp -s "$from/package-lock.json" "$to/.installed"; then exit 0; fi
echo "installing the npm packages of $from into $to"
mkdir -p "$to"
cp "$from/package.json" "$from/package-lock.json" "$to/"
# Nothing of these packages has to run at installation.
if ! (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "peers: npm ci failed in $to (all of it: $log)" >&2
  exit 1
fi
for node in "$to"/node_modules/node-linux-*/bin; do
  [ -x "$node/node" ] || { echo "peers: no Node 22 for this machine among the packages" >&2; exit 1; }
  ln -sfn "${node#"$to"/}" "$to/node"
done
cp "$from/package-lock.json" "$to/.installed"
