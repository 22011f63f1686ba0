#!/usr/bin/env bash
# Runs a measurement beside servers that speak like S3 and KMS. Usage: bench/with_aws.sh VENV COMMAND SCRIPT [ARGUMENT...]
# SCRIPT gets what `aws.sh run` says of the servers and a folder that is removed afterwards, and then the arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
coproc servers { exec tests/support/aws.sh run "$1-aws"; }
input=${servers[1]}
finish() {
  eval "exec $input>&-"
  wait || true
  rm -rf "$work"
}
trap finish EXIT
read -r facts <&"${servers[0]}"
"$2" "$3" "$facts" "$work" "${@:4}"
