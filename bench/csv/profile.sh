#!/usr/bin/env bash
# Prints where the processor time of lineitem -> Parquet goes; see bench/profile.sh.
# Usage: bench/csv/profile.sh   after `make bench-csv`, which makes the table.
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
bench/profile.sh "$work/profile.yaml"
