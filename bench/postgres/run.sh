#!/usr/bin/env bash
# Compares PostgreSQL -> Arrow and -> Parquet with duckdb, connectorx, polars, adbc and psycopg2, at 1 and 2 streams, and
# prints Markdown tables (also in target/bench/postgres.md). `make bench-postgres` builds the release binary first.
#
# ROUNDS=5      how often everyone runs, in turns
# QUICK=1       200,000 rows in 3 rounds instead of 1,000,000 and 6,000,000 in 5 (minutes instead of an hour)
# TABLES=NAMES  `wide`, `lineitem` or both
# BIN=FILE      the binary to measure
# PROFILE=1     where the processor time of wide -> Parquet goes instead; see bench/profile.sh
# BENCH_POSTGRES=FOLDER   where the server keeps its tables from run to run (6 GB), and outputs are while they are needed
#
# The server is a private one, of this machine's PostgreSQL; it ends with this script.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BIN:-target/release/dativo-wasm}
rows=1000000 scale=1 rounds=${ROUNDS:-5} tables=${TABLES:-wide lineitem}
if [[ -n ${QUICK:-} ]]; then
  rows=200000 scale=0.2 rounds=${ROUNDS:-3}
fi
home=${BENCH_POSTGRES:-${TMPDIR:-/tmp}/dativo-bench-postgres}/$rows
mkdir -p "$home" target/bench

venv=target/bench/postgres-venv
tests/support/venv.sh "$venv" bench/postgres/requirements.txt >&2
cargo build --release --quiet --locked --manifest-path bench/postgres/drain/Cargo.toml --target-dir target/bench/drain

coproc SERVER {
  POSTGRES_HOME=$home/server tests/support/postgres.sh run shared_buffers=3GB work_mem=64MB maintenance_work_mem=512MB \
    max_wal_size=8GB checkpoint_timeout=1h autovacuum=off timezone=UTC
}
# Closing its input ends the server; its files are to be in good order before this script is over.
trap 'exec {SERVER[1]}>&-; wait' EXIT
read -r server <&"${SERVER[0]}"
fact() { "$venv/bin/python" -c "import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])" "$server" "$1"; }
psql() { "$(fact bin)/psql" -h "$(fact socket)" -p "$(fact port)" -U postgres -Xqv ON_ERROR_STOP=1 "$@"; }

has_bench=$(psql -d postgres -Atc "select count(*) from pg_database where datname = 'bench'")
[[ $has_bench == 1 ]] || psql -d postgres -c "create database bench"
has() { [[ $(psql -d bench -Atc "select to_regclass('$1') is not null") == t ]]; }
for table in $tables; do
  if has "$table"; then continue; fi
  echo "== making $table" >&2
  {
    echo "begin;"
    if [[ $table == wide ]]; then
      PYTHONPATH=bench/postgres "$venv/bin/python" -c "import tables; print(tables.wide($rows))"
    else
      PYTHONPATH=bench/postgres "$venv/bin/python" -c "import tables; print(tables.LINEITEM)"
      echo "\\copy lineitem from program '$venv/bin/tpchgen-cli csv -s $scale -T lineitem --stdout -q -n 1' (format csv, header)"
    fi
    echo "commit; vacuum (freeze, analyze) $table;"
  } | psql -d bench
done

if [[ -n ${PROFILE:-} ]]; then
  work=$(mktemp -d -p "$home")
  cat >"$work/profile.yaml" <<YAML
tenant_id: bench
source: { reader: { type: custom, implementation: postgres, config: { table: wide,
  connection_string: "postgresql://by_trust@127.0.0.1:$(fact port)/bench?sslmode=disable" } } }
target: { writer: { type: custom, implementation: parquet, config: { path: "$work/out" } } }
YAML
  bench/profile.sh "$work/profile.yaml"
  rm -r "$work"
  exit
fi

"$venv/bin/python" bench/postgres/measure.py "$bin" target/release/examples/postgres_native \
  target/bench/drain/release/drain "$server" "$home" "$rounds" "$tables" |
  tee target/bench/postgres.part
mv target/bench/postgres.part target/bench/postgres.md
echo "== written to target/bench/postgres.md" >&2
