#!/usr/bin/env bash
# Compares CSV -> Arrow and CSV -> Parquet with polars, duckdb and pyarrow, at 1 and 2 threads, and prints Markdown
# tables (also in target/bench/csv.md). `make bench-csv` builds the release binary first.
#
# ROUNDS=5      how often everyone runs, in turns
# QUICK=1       150 MB in 3 rounds instead of 1 GB in 5 (some minutes instead of half an hour)
# BIN=FILE      the binary to measure
#
# Everything is made below target/bench: a Python environment, the tables (1.3 GB), outputs while they are needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BIN:-target/release/dativo-wasm}
home=target/bench
scale=1.35 rounds=${ROUNDS:-5}
if [[ -n ${QUICK:-} ]]; then
  scale=0.2 rounds=${ROUNDS:-3}
fi
mkdir -p "$home/data"

venv=$home/venv
tests/support/venv.sh "$venv" bench/csv/requirements.txt >&2

for factor in 0.2 "$scale"; do
  table=$home/data/lineitem-$factor.csv
  if [[ ! -s $table ]]; then
    echo "== making $table" >&2
    "$venv/bin/python" tests/support/lineitem.py "$factor" "$table" >/dev/null
  fi
done
[[ -s $home/data/lineitem-0.2.csv.gz ]] || gzip -k "$home/data/lineitem-0.2.csv"
[[ -s $home/data/flights.csv ]] || "$venv/bin/python" tests/support/flights.py "$home/data/flights.csv" >/dev/null

"$venv/bin/python" bench/csv/measure.py "$bin" "$home/data" "$rounds" "$scale" | tee "$home/csv.part"
mv "$home/csv.part" "$home/csv.md"
echo "== written to $home/csv.md" >&2
