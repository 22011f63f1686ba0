#!/usr/bin/env bash
# `serve` with many small jobs: memory for each idle job, the time from asking for a run to its end, and that time while another tenant
# attacks. Prints Markdown (also in
# target/bench/serve.md). `make bench-serve` builds the release binary first.
#
# JOBS=10000   job files, of a tenth as many tenants
# RUNS=500     runs that are asked for, one after the other, and as many with four at a time
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p target/bench
python3 bench/serve/measure.py "${BIN:-target/release/dativo-wasm}" "${JOBS:-10000}" "${RUNS:-500}" | tee target/bench/serve.md
python3 bench/serve/neighbour.py "${BIN:-target/release/dativo-wasm}" guests/dist/test | tee -a target/bench/serve.md
