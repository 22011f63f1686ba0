#!/usr/bin/env bash
# Prints how long a cached component takes from process start to its first batch (release build).
# Usage: bench/warm_start.sh [RUNS]   after `make run`; the goal is under 50 ms.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-20}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/warm.yaml" <<YAML
tenant_id: bench
source: { reader: { type: custom, implementation: csv, config: { file_path: "$(ls "$PWD"/jobs/data/*.csv | head -n 1)" } } }
target: { writer: { type: custom, implementation: discard } }
YAML
run() { target/release/dativo-wasm run "$work/warm.yaml" --json --state "sqlite://$work/state.db"; }
run >/dev/null # fills the cache of compiled components
for _ in $(seq "$runs"); do run; done | python3 -c '
import json, statistics, sys
runs = [json.loads(line) for line in sys.stdin]
first = [run["first_batch_ms"] for run in runs]
whole = [run["duration_ms"] for run in runs]
print(f"process start to first batch: median {statistics.median(first)} ms, "
      f"worst {max(first)} ms of {len(runs)} runs (clock of 10 ms); whole run: median {statistics.median(whole)} ms")'
