#!/usr/bin/env bash
# Servers that speak like S3 and KMS and that nobody here wrote, on 127.0.0.1, which live for as long as this script's
# standard input stays open: whoever started it may end as it likes, the servers end too, and their folder is removed.
#
# Usage: aws.sh install FOLDER   installs into FOLDER what `aws/requirements.txt` names
#        aws.sh run FOLDER       prints one line of JSON when all are up: the port of each, and their folder
#
# seaweedfs  S3, with the bucket `data`; and an Iceberg REST catalog over the bucket `warehouse`
# moto       KMS that binds the encryption context
# ministack  KMS with the states of keys: disabled, pending deletion
#
# All take the credentials `testkey` and `testsecret`; only SeaweedFS checks them.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)

install() {
  mkdir -p "$1"
  "$here/venv.sh" "$1/python" "$here/aws/requirements.txt"
}

# All at once, so that they differ. SeaweedFS adds 10,000 to some of its ports, so those must be free too.
free_ports() {
  python3 -c "
import socket, sys
held, ports = [], []
while len(ports) < int(sys.argv[1]):
    one, other = socket.socket(), socket.socket()
    try:
        one.bind(('127.0.0.1', 0))
        port = one.getsockname()[1]
        # Its own search must not end in one that the system hands out.
        other.bind(('127.0.0.1', port - 10000 if port > 40000 else port + 10000))
    except OSError:
        continue
    held += [one, other]
    ports.append(port - 10000 if port > 40000 else port)
print(*ports)" "$1"
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
  (cd "$home" && exec setpriv --pdeathsig TERM "${@:2}" >>"$home/$1.log" 2>&1 </dev/null) &
  processes+=($!)
}

wait_for() { # name, port
  local attempt
  for attempt in {1..300}; do
    if "$python" -c "
import http.client, sys
c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=1)
c.request('GET', '/')
c.getresponse()" "$2" 2>/dev/null; then
      return
    fi
    sleep 0.1
  done
  echo "$1 did not start in $attempt attempts:" >&2
  tail -n 20 "$home/$1.log" >&2
  exit 1
}

# SeaweedFS makes its table bucket a moment after its catalog answers.
wait_for_catalog() { # port
  local attempt
  for attempt in {1..300}; do
    if "$python" -c "
import json, sys, urllib.request
uri = 'http://127.0.0.1:' + sys.argv[1] + '/v1/'
form = b'grant_type=client_credentials&client_id=testkey&client_secret=testsecret&scope=catalog'
token = json.load(urllib.request.urlopen(uri + 'oauth/tokens', form, 2))['access_token']
request = urllib.request.Request(uri + 'warehouse/namespaces', headers={'Authorization': 'Bearer ' + token})
urllib.request.urlopen(request, timeout=2)" "$1" 2>/dev/null; then
      return
    fi
    sleep 0.1
  done
  echo "the Iceberg catalog did not start in $attempt attempts:" >&2
  tail -n 20 "$home/seaweedfs.log" >&2
  exit 1
}

run() {
  python=$1/python/bin/python
  home=$(mktemp -d "${TMPDIR:-/tmp}/dativo-aws.XXXXXX")
  processes=()
  trap finish EXIT
  trap 'exit 130' INT TERM HUP
  export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret GOMEMLIMIT=700MiB
  local s3 iceberg master volume filer admin moto ministack
  read -r s3 iceberg master volume filer admin moto ministack < <(free_ports 8)
  mkdir "$home/weed"
  start seaweedfs "$1/python/bin/weed" mini -dir="$home/weed" -ip=127.0.0.1 -ip.bind=127.0.0.1 -webdav=false -admin.ui=false \
    -s3.domainName=s3.localhost -s3.port="$s3" -s3.port.iceberg="$iceberg" -s3.port.lance=0 -master.port="$master" \
    -volume.port="$volume" -filer.port="$filer" -admin.port="$admin" -bucket=data -tableBucket=warehouse
  start moto "$1/python/bin/moto_server" -H 127.0.0.1 -p "$moto"
  start ministack env BIND_HOST=127.0.0.1 GATEWAY_PORT="$ministack" "$1/python/bin/ministack"
  wait_for seaweedfs "$s3"
  wait_for_catalog "$iceberg"
  wait_for moto "$moto"
  wait_for ministack "$ministack"
  printf '{"folder": "%s", "seaweedfs": %d, "iceberg": %d, "moto": %d, "ministack": %d}\n' "$home" "$s3" "$iceberg" "$moto" "$ministack"
  while read -r _; do :; done
}

case "${1:-} $#" in
  'install 2') install "$2" ;;
  'run 2') run "$2" ;;
  *) echo "usage: $0 install FOLDER | run FOLDER" >&2; exit 2 ;;
esac
