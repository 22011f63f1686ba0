#!/usr/bin/env bash
# How long commits to a bucket take whose every request takes 20 ms: of many files, and to a table that many commits made. Usage:
# bench/commit/run.sh [FILES] after `make run servers venv`; 300 files unless given. BINS names other programs to run in turns with this
# one. VENV names the test environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$(realpath "${VENV:-target/test-venv}")
# BINS is a list.
# shellcheck disable=SC2086
bench/with_aws.sh "$venv" python3 bench/commit/measure.py "${1:-300}" target/release/dativo-wasm ${BINS:-}
