#!/usr/bin/env bash
# Compares CSV -> Arrow and CSV -> Parquet with polars, duckdb and pyarrow, at 1 and 2 threads, and prints Markdown
# tables (also in target/bench/csv.md). `make bench-csv` builds the release binary first.
#
# ROUNDS=5      how often everyone runs, in turns
# QUICK=1       150 MB in 3 rounds instead of 1 GB in 5 (some minutes instead of an hour)
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
if ! cmp -s bench/csv/requirements.txt "$venv/installed"; then
  echo "== installing the peers (bench/csv/requirements.txt) into $venv" >&2
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r bench/csv/requirements.txt
  cp bench/csv/requirements.txt "$venv/installed"
fi

for factor in 0.2 "$scale"; do
  table=$home/data/lineitem-$factor.csv
  if [[ ! -s $table ]]; then
    echo "== making $table" >&2
    "$venv/bin/tpchgen-cli" csv -s "$factor" -T lineitem --stdout -q -n 1 >"$table.part"
    mv "$table.part" "$table"
  fi
done
[[ -s $home/data/lineitem-0.2.csv.gz ]] || gzip -k "$home/data/lineitem-0.2.csv"
[[ -s $home/data/flights.csv ]] || "$venv/bin/python" tests/support/flights.py "$home/data/flights.csv" >&2

"$venv/bin/python" bench/csv/measure.py "$bin" "$home/data" "$rounds" "$scale" | tee "$home/csv.part"
mv "$home/csv.part" "$home/csv.md"
echo "== written to $home/csv.md" >&2
