#!/usr/bin/env bash
# Makes a Python environment with the tools that read results back. Usage: tests/support/venv.sh FOLDER
set -euo pipefail
venv=$1
requirements=$(cd "$(dirname "$0")/.." && pwd)/requirements.txt
stamp=$venv/requirements.installed
if cmp -s "$requirements" "$stamp"; then
  exit 0
fi
echo "== installing the readers that check results (tests/requirements.txt) into $venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$requirements"
cp "$requirements" "$stamp"
