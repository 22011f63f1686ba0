#!/usr/bin/env bash
# Encrypt and upload against upload alone: CPU time, wall time and peak memory of the same job to the same SeaweedFS.
# Usage: bench/encrypted/run.sh [GIGABYTES]   after `make run servers venv`; 4 GB of CSV unless given. Needs three times that
# under $TMPDIR. VENV names the test environment (target/test-venv).
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$(realpath "${VENV:-target/test-venv}")
bench/with_aws.sh "$venv" "$venv-aws/python/bin/python" bench/encrypted/measure.py "${1:-4}" "$venv/bin/tpchgen-cli"
