#!/usr/bin/env bash
# Compares REST -> Parquet with a script of requests and pyarrow, the same with orjson, and dlt's `rest_api` source, on pages
# that nginx serves from files, and prints a Markdown table (also in target/bench/rest.md). `make bench-rest` builds the
# release binary first.
#
# ROUNDS=3      how often everyone runs, in turns
# QUICK=1       1,000 pages instead of 10,000
# BIN=FILE      the binary to measure
#
# Everything is made below target/bench: a Python environment, the pages (200 MB), outputs while they are needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$(realpath "${BIN:-target/release/dativo-wasm}")
mkdir -p target/bench
home=$(realpath target/bench)
pages=10000 rounds=${ROUNDS:-3}
if [[ -n ${QUICK:-} ]]; then pages=1000; fi

venv=$home/venv-rest
tests/support/venv.sh "$venv" bench/rest/requirements.txt >&2
if [[ ! -s $home/rest-$pages/$pages.json ]]; then
  echo "== making $pages pages" >&2
  "$venv/bin/python" bench/rest/pages.py "$home/rest-$pages" "$pages"
fi

work=$(mktemp -d "$home/rest.XXXXXX")
port=$("$venv/bin/python" -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
cat >"$work/nginx.conf" <<CONF
daemon off;
user root;
pid $work/nginx.pid;
error_log $work/error.log;
worker_processes 1;
events {}
http {
  access_log off;
  sendfile on;
  keepalive_requests 1000000;
  default_type application/json;
  client_body_temp_path $work; proxy_temp_path $work; fastcgi_temp_path $work; uwsgi_temp_path $work; scgi_temp_path $work;
  server {
    listen 127.0.0.1:$port;
    location = /orders { rewrite ^ /rest-$pages/\$arg_page.json break; root $home; }
  }
}
CONF
if [[ $(id -u) != 0 ]]; then sed -i '/^user root;$/d' "$work/nginx.conf"; fi
"$(command -v nginx || echo /usr/sbin/nginx)" -c "$work/nginx.conf" -p "$work" &
nginx=$!
trap 'kill $nginx 2>/dev/null; wait $nginx 2>/dev/null; rm -rf "$work"' EXIT

"$venv/bin/python" bench/rest/measure.py "$bin" "$work" "$rounds" "$pages" "http://127.0.0.1:$port/orders" |
  tee "$home/rest.part"
mv "$home/rest.part" "$home/rest.md"
echo "== written to $home/rest.md" >&2
