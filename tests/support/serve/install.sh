#!/usr/bin/env bash
# What tests of `serve` drive it with: Debian's Chromium and its driver (as root, where they are missing), and Python's Selenium,
# Schemathesis and OpenTelemetry messages.
# Usage: tests/support/serve/install.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
  if [[ $(id -u) != 0 ]]; then
    echo "not installed here: a browser; sudo apt-get install chromium chromium-driver" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null
fi
"$here/../venv.sh" "$1" "$here/requirements.txt"
