#!/usr/bin/env bash
# `serve` with many small jobs: memory for each idle job, the time from asking for a run to its end, that time while another tenant
# attacks, and what of it the making of instances can take. Prints Markdown (also in target/bench/serve.md). `make bench-serve` builds
# the release binary first.
#
# JOBS=10000   job files, of a tenth as many tenants
# RUNS=500     runs that are asked for, one after the other, and as many with four at a time
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p target/bench
bin=${BIN:-target/release/dativo-wasm}
{
  python3 bench/serve/measure.py "$bin" "${JOBS:-10000}" "${RUNS:-500}"
  printf '\nInstances of a connector, made and dropped:\n\n'
  target/release/examples/instances
  python3 bench/serve/neighbour.py "$bin" guests/dist/test
} | tee target/bench/serve.md
