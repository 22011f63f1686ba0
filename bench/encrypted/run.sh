#!/usr/bin/env bash
# Encrypt and upload against upload alone: CPU time, wall time and peak memory of the same job to the same SeaweedFS.
# Usage: bench/encrypted/run.sh [GIGABYTES]   after `make run servers venv`; 4 GB of CSV unless given. Needs three times that
# under $TMPDIR. VENV names the test environment (target/test-venv).
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$(realpath "${VENV:-target/test-venv}")
work=$(mktemp -d)
coproc servers { exec tests/support/aws.sh run "$venv-aws"; }
input=${servers[1]}
finish() {
  eval "exec $input>&-"
  wait || true
  rm -rf "$work"
}
trap finish EXIT
read -r facts <&"${servers[0]}"
"$venv-aws/python/bin/python" bench/encrypted/measure.py "$facts" "$work" "${1:-4}" "$venv/bin/tpchgen-cli"
