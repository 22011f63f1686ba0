#!/usr/bin/env bash
# Makes a Python environment, with the tools that read results back where nothing else is asked for.
# Usage: tests/support/venv.sh FOLDER [REQUIREMENTS]
#
# Does nothing where it is there already and still works. Several at once wait for each other.
set -euo pipefail
venv=$1
requirements=${2:-$(cd "$(dirname "$0")/.." && pwd)/requirements.txt}
stamp=$venv/requirements.installed

mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9
# Made for these very requirements, by a Python that still exists.
if cmp -s "$requirements" "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "the tests need Python 3.11 or later as python3" >&2
  exit 1
fi
echo "== installing $requirements into $venv"
python3 -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$requirements"
cp "$requirements" "$stamp"
