#!/usr/bin/env bash
# Build the image of KCO with podman or docker: ./build.sh [TAG]; scripts/image/build.sh says what else can be set.
set -euo pipefail
exec "$(dirname "$0")/../../scripts/image/build.sh" operators/kco "$@"
