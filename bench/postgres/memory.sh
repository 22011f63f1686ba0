#!/usr/bin/env bash
# Prints the peak memory of reading a large table, with 1, 2 and 4 splits, into Parquet and into nothing.
# Usage: bench/postgres/memory.sh [GIGABYTES]   after `make run`; the goal is under 150 MiB at any size. Needs three times
# as much room as the table has under $TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/../.."
gigabytes=${1:-2}
bin=$PWD/${BIN:-target/release/dativo-wasm}
work=$(mktemp -d)
coproc SERVER { tests/support/postgres.sh run shared_buffers=1GB max_wal_size=8GB autovacuum=off; }
trap 'exec {SERVER[1]}>&-; wait; rm -rf "$work"' EXIT
read -r server <&"${SERVER[0]}"
fact() { python3 -c "import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])" "$server" "$1"; }
psql() { "$(fact bin)/psql" -h "$(fact socket)" -p "$(fact port)" -U postgres -d postgres -Xqv ON_ERROR_STOP=1 -At "$@"; }

# About 540 bytes a row.
psql -c "create unlogged table big as
  select n as id, md5(n::text) as a, n * 0.01 as b, now() + n * interval '1 second' as c, repeat(md5((n % 5000)::text), 12) as d,
    case when n % 100000 = 0 then repeat(md5(n::text), 10000) end as e
  from generate_series(1, ($gigabytes * 1e9 / 540)::int8) n"
psql -c "select pg_size_pretty(pg_table_size('big'))"
for target in parquet discard; do
  for splits in 1 2 4; do
    config="{}"
    if [[ $target == parquet ]]; then config="{ path: \"$work/out-$splits\" }"; fi
    cat >"$work/job.yaml" <<YAML
tenant_id: bench
source:
  reader:
    type: custom
    implementation: postgres
    config: { connection_string: "postgresql://by_trust@127.0.0.1:$(fact port)/postgres?sslmode=disable", table: big }
target: { writer: { type: custom, implementation: $target, config: $config } }
YAML
    "$bin" run "$work/job.yaml" --json --parallelism "$splits" --state "sqlite://$work/$target-$splits.db" >"$work/answer"
    python3 -c "
import json, sys
run = json.load(open(sys.argv[1]))
print(f\"{sys.argv[2]}, {sys.argv[3]} splits: {run['rows_read']:,} rows, {run['duration_ms'] / 1000:.1f} s, \"
      f\"peak {run['peak_memory_bytes'] / 2**20:.0f} MiB\")" "$work/answer" "$target" "$splits"
    rm -rf "$work/out-$splits"
  done
done
