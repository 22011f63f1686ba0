#!/usr/bin/env bash
# HTTP servers that nobody here wrote, on 127.0.0.1, which live for as long as this script's standard input stays open:
# whoever started it may end as it likes, the servers end too, and their folder is removed.
#
# Usage: http.sh install FOLDER   installs into FOLDER what `http/` names, and Debian's nginx and Node.js where they are
#                                 missing (as root)
#        http.sh run FOLDER       prints one line of JSON when all are up: the port of each, and their folder
#
# datasette     JSON over the SQLite file `FOLDER/data.db`: posts (id, title, body, score, updated_at) and users
# json_server   json-server 0.17 over the same records: pages with `Link` headers
# json_server_1 json-server 1 beta: pages in an envelope; a page past the end repeats the last one
# httpbin       echoes, redirects, encodings, authentication
# nginx         a rate limit of 5 requests a second with a burst of 3 in front of datasette: 429 with `Retry-After: 1`
# tls           nginx again, with HTTP/2: `/items`, and `/to-plain`, which leads to `nginx`. `FOLDER/tls/ca.crt` signed its
#               certificate, of `localhost`; other-ca.crt did not
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)

install() {
  local missing=()
  [[ -x $(command -v nginx || echo /usr/sbin/nginx) ]] || missing+=(nginx-light)
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  if ((${#missing[@]})); then
    if [[ $(id -u) != 0 ]]; then
      echo "not installed here: ${missing[*]}; sudo apt-get install ${missing[*]}" >&2
      return 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
  mkdir -p "$1"
  "$here/venv.sh" "$1/python" "$here/http/requirements.txt"
  exec 9>"$1/node.lock"
  flock 9
  if ! cmp -s "$here/http/package-lock.json" "$1/node/installed.json"; then
    echo "== installing $here/http/package-lock.json into $1/node"
    mkdir -p "$1/node"
    cp "$here/http/package.json" "$here/http/package-lock.json" "$1/node/"
    (cd "$1/node" && npm ci --omit=optional --no-audit --no-fund --silent)
    cp "$here/http/package-lock.json" "$1/node/installed.json"
  fi
}

# All ports at once, so that they differ.
free_ports() {
  python3 -c "
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets: s.bind(('127.0.0.1', 0))
print(*(s.getsockname()[1] for s in sockets))" "$1"
}

certificates() { # folder
  local name
  mkdir "$1"
  for name in ca other-ca server; do
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1/$name.key" 2>/dev/null
  done
  for name in ca other-ca; do
    openssl req -x509 -key "$1/$name.key" -subj "/CN=$name" -days 30 -out "$1/$name.crt"
  done
  openssl req -new -key "$1/server.key" -subj /CN=localhost -out "$1/server.csr"
  openssl x509 -req -in "$1/server.csr" -CA "$1/ca.crt" -CAkey "$1/ca.key" -CAcreateserial -days 30 -out "$1/server.crt" \
    -extfile <(echo 'subjectAltName = DNS:localhost') 2>/dev/null
}

finish() {
  trap - EXIT
  local process
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$home"
}

# A server ends with this script, even where that is killed.
start() { # log, command...
  setpriv --pdeathsig TERM "${@:2}" >>"$home/$1.log" 2>&1 </dev/null &
  processes+=($!)
}

wait_for() { # name, URL
  local attempt
  for attempt in {1..300}; do
    if "$python" -c "
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=1).read(1)" "$2" 2>/dev/null; then
      return
    fi
    sleep 0.1
  done
  echo "$1 did not start in $attempt attempts:" >&2
  tail -n 20 "$home/$1.log" >&2
  exit 1
}

run() {
  python=$1/python/bin/python
  local node=$1/node/node_modules
  home=$(mktemp -d "${TMPDIR:-/tmp}/dativo-http.XXXXXX")
  processes=()
  trap finish EXIT
  trap 'exit 130' INT TERM HUP
  read -r datasette json_server json_server_1 httpbin nginx tls < <(free_ports 6)
  certificates "$home/tls"
  "$python" "$here/http/data.py" "$home"
  start datasette "$python" -m datasette serve "$home/data.db" --host 127.0.0.1 --port "$datasette"
  start json_server node "$node/json-server/lib/cli/bin.js" --host 127.0.0.1 --port "$json_server" --quiet "$home/db.json"
  start json_server_1 node "$node/json-server-1/lib/bin.js" --host 127.0.0.1 --port "$json_server_1" "$home/db-1.json"
  start httpbin "$python" -m gunicorn --bind "127.0.0.1:$httpbin" --workers 1 --threads 8 httpbin:app
  cat >"$home/nginx.conf" <<CONF
daemon off;
pid $home/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path $home; proxy_temp_path $home; fastcgi_temp_path $home; uwsgi_temp_path $home; scgi_temp_path $home;
  limit_req_zone \$binary_remote_addr zone=z:1m rate=5r/s;
  server {
    listen 127.0.0.1:$nginx;
    location / {
      limit_req zone=z burst=3 nodelay;
      limit_req_status 429;
      error_page 429 @slower;
      proxy_set_header Host \$http_host;
      proxy_pass http://127.0.0.1:$datasette;
    }
    location @slower { add_header Retry-After 1 always; return 429 '{"error": "rate limited"}'; }
  }
  server {
    listen 127.0.0.1:$tls ssl http2;
    ssl_certificate $home/tls/server.crt;
    ssl_certificate_key $home/tls/server.key;
    location = /items { return 200 '[{"id": 1, "protocol": "\$server_protocol"}]'; }
    location = /to-plain { return 302 http://127.0.0.1:$nginx/data/posts.json; }
  }
}
CONF
  start nginx "$(command -v nginx || echo /usr/sbin/nginx)" -c "$home/nginx.conf" -p "$home"
  wait_for datasette "http://127.0.0.1:$datasette/data/posts.json?_size=1"
  wait_for json_server "http://127.0.0.1:$json_server/posts?_limit=1"
  wait_for json_server_1 "http://127.0.0.1:$json_server_1/posts?_per_page=1"
  wait_for httpbin "http://127.0.0.1:$httpbin/status/200"
  wait_for nginx "http://127.0.0.1:$nginx/data/posts.json?_size=1"
  printf '{"folder": "%s", "datasette": %d, "json_server": %d, "json_server_1": %d, "httpbin": %d, "nginx": %d, "tls": %d}\n' \
    "$home" "$datasette" "$json_server" "$json_server_1" "$httpbin" "$nginx" "$tls"
  while read -r _; do :; done
}

case "${1:-} $#" in
  'install 2') install "$2" ;;
  'run 2') run "$2" ;;
  *) echo "usage: $0 install FOLDER | run FOLDER" >&2; exit 2 ;;
esac
