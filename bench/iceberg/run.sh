#!/usr/bin/env bash
# TPC-H lineitem from PostgreSQL into an Iceberg table of a local warehouse, beside dlt and pyiceberg, in turns. Prints Markdown
# (also in target/bench/iceberg.md). `make bench-iceberg` builds the release binary first.
#
# SCALE=1   of TPC-H: 6 million rows
# ROUNDS=3  how often everyone runs
#
# The server is a private one, of this machine's PostgreSQL; it ends with this script.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BIN:-target/release/dativo-wasm}
scale=${SCALE:-1} rounds=${ROUNDS:-3}
venv=target/bench/iceberg-venv
mkdir -p target/bench
tests/support/venv.sh "$venv" bench/iceberg/requirements.txt >&2
home=$(mktemp -d)
coproc SERVER {
  tests/support/postgres.sh run shared_buffers=2GB max_wal_size=8GB checkpoint_timeout=1h \
    autovacuum=off timezone=UTC
}
trap 'exec {SERVER[1]}>&-; wait; rm -rf "$home"' EXIT
read -r server <&"${SERVER[0]}"
fact() { "$venv/bin/python" -c "import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])" "$server" "$1"; }
psql() { "$(fact bin)/psql" -h "$(fact socket)" -p "$(fact port)" -U postgres -Xqv ON_ERROR_STOP=1 "$@"; }
psql -d postgres -c "create database bench"
{
  echo "begin;"
  PYTHONPATH=bench/postgres "$venv/bin/python" -c "import tables; print(tables.LINEITEM)"
  echo "\\copy lineitem from program '$venv/bin/tpchgen-cli csv -s $scale -T lineitem --stdout -q -n 1' (format csv, header)"
  echo "commit; vacuum (freeze, analyze) lineitem;"
} | psql -d bench
"$venv/bin/python" bench/iceberg/measure.py "$bin" "$(fact port)" "$home" "$rounds" | tee target/bench/iceberg.part
mv target/bench/iceberg.part target/bench/iceberg.md
