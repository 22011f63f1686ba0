#!/usr/bin/env bash
# Prints the peak memory of a 2 GB CSV -> Parquet run with 2 splits (release build).
# Usage: bench/memory.sh [GIGABYTES]   after `make run`; the goal is under 300 MiB. Needs 3 GB under $TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/.."
gigabytes=${1:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$work/big.csv" "$gigabytes" <<'PY'
import random, sys
path, gigabytes = sys.argv[1], float(sys.argv[2])
random.seed(7)
words = [f"item {n:05d}, with a \"quoted\" name" for n in range(5000)]
def row(n):
    name = words[random.randrange(5000)].replace('"', '""')
    return (f'{n},{random.randrange(10**9)},{random.random() * 1000:.4f},2024-{n % 12 + 1:02d}-{n % 28 + 1:02d},'
            f'2024-01-01T00:{n % 60:02d}:{n % 59:02d},"{name}",{"" if n % 7 == 0 else "note " + str(n % 1000)}\n')
block = "".join(row(n) for n in range(200_000)).encode()
with open(path, "wb") as file:
    file.write(b"id,amount,price,day,at,name,note\n")
    for _ in range(int(gigabytes * 1e9 / len(block)) + 1):
        file.write(block)
PY
cat >"$work/memory.yaml" <<YAML
tenant_id: bench
source: { reader: { type: custom, implementation: csv, config: { file_path: "$work/big.csv" } } }
target: { writer: { type: custom, implementation: parquet, config: { path: "$work/out" } } }
YAML
target/release/dativo-wasm run "$work/memory.yaml" --json --parallelism 2 --state "sqlite://$work/state.db" | python3 -c '
import json, os, sys
run = json.loads(sys.stdin.read())
assert run["status"] == "success", run["error"]
size = os.path.getsize(sys.argv[1])
rows, seconds, peak = run["rows_read"], run["duration_ms"] / 1000, run["peak_memory_bytes"] / 2**20
print(f"{size / 1e9:.2f} GB of CSV, {rows:,} rows in {seconds:.1f} s: "
      f"peak memory {peak:.0f} MiB")'  "$work/big.csv"
