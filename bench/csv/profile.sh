#!/usr/bin/env bash
# Prints where the processor time of lineitem -> Parquet with 2 splits goes: by binary, component, libc and kernel,
# then by function. Usage: bench/csv/profile.sh   after `make bench-csv`, which makes the table; needs Linux perf.
set -euo pipefail
cd "$(dirname "$0")/../.."
table=$PWD/target/bench/data/lineitem-${SCALE:-1.35}.csv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
schema=$(target/bench/venv/bin/python -c "
import json, sys
sys.path.append('tests/support')
from tables import schema
print(json.dumps(schema('lineitem')))")
cat >"$work/profile.yaml" <<YAML
tenant_id: bench
source: { reader: { type: custom, implementation: csv, config: { file_path: "$table", schema: $schema } } }
target: { writer: { type: custom, implementation: parquet, config: { path: "$work/out" } } }
YAML
target/release/dativo-wasm plan "$work/profile.yaml" >/dev/null # fills the cache of compiled components
perf record -q -e cpu-clock -F 2000 -o "$work/perf.data" -- target/release/dativo-wasm run "$work/profile.yaml" \
  --parallelism 2 --state "sqlite://$work/state.db" >/dev/null
report() { perf report -i "$work/perf.data" --no-children "$@" 2>/dev/null | sed '/^#/d; /^$/d' | cut -c1-120; }
report --sort dso --percent-limit 1
echo
report --sort dso,symbol --percent-limit 1
