#!/usr/bin/env bash
# Run uv, installing a pinned one into .slipway/uv if the machine has none.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=0.13.8
mkdir -p .slipway
if command -v uv >/dev/null 2>&1; then exec uv "$@"; fi
if [ ! -x .slipway/uv/bin/uv ]; then
    python=$(command -v python3 || true)
    if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "Slipway needs Python 3.11 or later as python3 on PATH." >&2
        exit 2
    fi
    rm -rf .slipway/uv
    if ! "$python" -m venv .slipway/uv >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
            rm -rf .slipway/uv && "$python" -m venv .slipway/uv
        else
            echo "python3 cannot make virtual environments: install your system's python3-venv." >&2
            exit 2
        fi
    fi
    .slipway/uv/bin/pip install --quiet --disable-pip-version-check "uv==$VERSION"
fi
exec .slipway/uv/bin/uv "$@"
