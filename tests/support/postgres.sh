#!/usr/bin/env bash
# A private PostgreSQL on 127.0.0.1, which lives for as long as this script's standard input stays open: whoever started
# it may end as it likes, the server ends too, and its folder is removed.
#
# Usage: postgres.sh install                 installs Debian's server where no server is found (as root)
#        postgres.sh run [NAME=VALUE...]     with these settings; prints one line of JSON when it is up: the folders of
#                                            its programs, its files and its socket, its port, process and major version
#
# POSTGRES_BIN=FOLDER    the server's programs (else the newest below /usr/lib/postgresql, else those on the PATH)
# POSTGRES_HOME=FOLDER   where its files are and stay (else a new folder below the temporary one)
# POSTGRES_PRIMARY=JSON  what another such server printed: this one is a replica of it
#
# Through the socket `postgres` is trusted. Through TCP these roles have the password `pw-of-ROLE`: `reader` (SCRAM, may
# read everything), `stranger` (the same, may read nothing), `by_md5`, `by_password`, `only_tls`, `only_plain`; `by_trust`
# needs none and `by_cert` a certificate. Where the server knows TLS, its files are in `tls`: ca.crt signed server.crt
# (of `localhost`) and client.crt (of `by_cert`); other-ca.crt signed neither.
set -euo pipefail
export LC_ALL=C.UTF-8
for variable in "${!PG@}"; do unset "$variable"; done

programs() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  if [[ -n ${POSTGRES_BIN:-} ]]; then
    echo "$POSTGRES_BIN"
  elif [[ -x $newest/initdb ]]; then
    echo "$newest"
  else
    dirname "$(command -v initdb)"
  fi
}

install() {
  if [[ -x $(programs)/initdb ]]; then
    return
  fi
  if [[ $(id -u) != 0 ]]; then
    echo "no PostgreSQL server is installed here; sudo apt-get install postgresql" >&2
    return 1
  fi
  # Debian would start a server of its own with every boot; only the programs are wanted.
  if [[ ! -e /etc/postgresql-common/createcluster.conf ]]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
}

# The server refuses to run as root. A program is not started through a shell, so that its process is the server's own.
user=$(id -un)
if [[ $(id -u) == 0 ]]; then
  user=nobody
  if id postgres >/dev/null 2>&1; then user=postgres; fi
fi
as_user() {
  if [[ $user == "$(id -un)" ]]; then
    exec "$@"
  fi
  exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups -- "$@"
}

# A home folder that only root can enter, as those of Python packages are, hides the programs from that user.
reachable_programs() {
  local bin
  bin=$(programs)
  if (as_user test -x "$bin/initdb" 2>/dev/null); then
    echo "$bin"
    return
  fi
  local package
  package=$(dirname "$(dirname "$bin")")
  mkdir "$home/programs"
  cp -r "$package" "$home/programs/"
  if [[ -d $package.libs ]]; then cp -r "$package.libs" "$home/programs/"; fi
  chmod -R a+rX "$home/programs"
  echo "$home/programs/$(basename "$package")/$(basename "$(dirname "$bin")")/bin"
}

certificates() {
  mkdir "$home/tls"
  cd "$home/tls"
  local name
  for name in ca other-ca server client; do
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key" 2>/dev/null ||
      openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key" 2>/dev/null
  done
  for name in ca other-ca; do
    openssl req -x509 -key "$name.key" -subj "/CN=$name" -days 30 -out "$name.crt"
  done
  sign() { # name, extension, subject
    openssl req -new -key "$1.key" -subj "/CN=$3" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
      -extfile <(echo "$2") 2>/dev/null
  }
  sign server 'subjectAltName = DNS:localhost' localhost
  sign client 'extendedKeyUsage = clientAuth' by_cert
  cat ca.crt >ca-of-clients.crt
  chmod 600 ./*.key
  chown "$user" server.key
  chmod a+rX . ./*.crt
  cd - >/dev/null
}

free_port() {
  python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
}

make_replica() {
  local -a primary
  read -r -a primary < <(python3 -c "
import json, sys
server = json.loads(sys.argv[1])
print(server['socket'], server['port'])" "$POSTGRES_PRIMARY")
  (as_user "$bin/pg_basebackup" -h "${primary[0]}" -p "${primary[1]}" -U postgres -D "$data" -R --checkpoint=fast --no-sync)
  echo "unix_socket_directories = '$home'" >>"$data/postgresql.conf"
}

make_cluster() {
  local tls=''
  (as_user "$bin/initdb" -D "$data" -U postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync) >/dev/null
  # Not through a pipe: a reader that has seen enough would end the writer, which counts as a failure.
  if [[ $(ldd "$bin/postgres") == *libssl* ]]; then
    certificates
    tls="
ssl = on
ssl_cert_file = '$home/tls/server.crt'
ssl_key_file = '$home/tls/server.key'
ssl_ca_file = '$home/tls/ca-of-clients.crt'"
  fi
  # What is lost with the machine was only a test's.
  cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$home'
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 100
timezone = 'Asia/Kathmandu'$tls
CONF
  {
    echo "local all,replication all trust"
    if [[ -n $tls ]]; then
      echo "hostssl all by_cert all cert"
      echo "hostssl all only_tls all scram-sha-256"
      echo "hostnossl all only_plain all scram-sha-256"
    fi
    echo "host all by_cert,only_tls,only_plain all reject"
    echo "host all by_md5 all md5"
    echo "host all by_password all password"
    echo "host all by_trust all trust"
    echo "host all all all scram-sha-256"
  } >"$data/pg_hba.conf"
}

make_roles() {
  local role
  {
    for role in reader stranger by_md5 by_password by_trust only_tls only_plain by_cert; do
      if [[ $role == by_md5 ]]; then echo "set password_encryption = 'md5';"; fi
      echo "create role $role login password 'pw-of-$role'; reset password_encryption;"
      if [[ $role != stranger ]]; then echo "grant pg_read_all_data to $role;"; fi
    done
  } | "$bin/psql" -Xqv ON_ERROR_STOP=1 -h "$home" -p "$port" -U postgres -d postgres 2>>"$home/roles.log"
}

finish() {
  trap - EXIT
  if [[ -n ${server:-} ]]; then
    kill -s "$how" "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if [[ -z ${POSTGRES_HOME:-} ]]; then rm -rf "$home"; fi
}

run() {
  if [[ ! -x $(programs)/initdb ]]; then
    echo "no PostgreSQL server is installed here; tests/support/postgres.sh install, or: apt-get install postgresql" >&2
    exit 1
  fi
  # Socket paths are short, whatever the temporary folder is.
  home=${POSTGRES_HOME:-$(mktemp -d /tmp/dativo-pg.XXXXXX)}
  server='' how=QUIT
  trap finish EXIT
  trap 'exit 130' INT TERM HUP
  if [[ -n ${POSTGRES_HOME:-} ]]; then how=INT; fi # files that stay are left in good order
  mkdir -p "$home"
  chmod 700 "$home"
  chown "$user" "$home"
  bin=$(reachable_programs)
  data=$home/data
  local is_new=''
  if [[ -n ${POSTGRES_PRIMARY:-} ]]; then
    make_replica
  elif [[ ! -s $data/PG_VERSION ]]; then
    is_new=yes
    make_cluster
  fi
  local settings=() setting
  for setting in "$@"; do settings+=(-c "$setting"); done
  local attempt
  for attempt in 1 2 3; do
    port=$(free_port)
    # The server ends with this script, even where that is killed.
    (as_user setpriv --pdeathsig "$how" "$bin/postgres" -D "$data" -p "$port" "${settings[@]}") \
      >>"$home/server.log" 2>&1 </dev/null &
    server=$!
    while kill -0 "$server" 2>/dev/null; do
      if "$bin/pg_isready" -q -h "$home" -p "$port"; then break 2; fi
      sleep 0.1
    done
    server=''
  done
  if [[ -z $server ]]; then
    echo "the server did not start in $attempt attempts:" >&2
    tail -n 20 "$home/server.log" >&2
    exit 1
  fi
  if [[ -n $is_new ]]; then make_roles; fi
  printf '{"bin": "%s", "folder": "%s", "port": %d, "socket": "%s", "process": %d, "version": %d}\n' \
    "$bin" "$home" "$port" "$home" "$server" "$(cut -d. -f1 "$data/PG_VERSION")"
  while read -r _; do :; done
}

case "${1:-}" in
  install) install ;;
  run) run "${@:2}" ;;
  *) echo "usage: $0 install | run [NAME=VALUE...]" >&2; exit 2 ;;
esac
