#!/usr/bin/env bash
# Prints where the processor time of a job with 2 splits goes: by binary, component, libc and kernel, then by function.
# Usage: bench/profile.sh JOB   with a release binary; needs Linux perf.
set -euo pipefail
job=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target/release/dativo-wasm plan "$job" >/dev/null # fills the cache of compiled components
perf record -q -e cpu-clock -F 2000 -o "$work/perf.data" -- target/release/dativo-wasm run "$job" \
  --parallelism 2 --state "sqlite://$work/state.db" >/dev/null
report() { perf report -i "$work/perf.data" --no-children "$@" 2>/dev/null | sed '/^#/d; /^$/d' | cut -c1-120; }
report --sort dso --percent-limit 1
echo
report --sort dso,symbol --percent-limit 1
