#!/usr/bin/env bash
# Build the image of KCO. Podman is preferred, Docker is used where there is none. Linux and macOS.
#   ./build.sh [TAG]           BASE=…  the Python base image; REGISTRY=… PUSH=1  to push
set -euo pipefail
case "$(uname -s)" in
  Linux | Darwin) ;;
  *) echo "build.sh: $(uname -s) is not supported; use Linux or macOS" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
tag=${1:-${TAG:-0.1.0}}
name=${REGISTRY:+$REGISTRY/}kco:$tag
engine=${ENGINE:-}
if [ -z "$engine" ]; then
  for candidate in podman docker; do
    if command -v "$candidate" >/dev/null; then engine=$candidate; break; fi
  done
fi
if [ -z "$engine" ]; then
  echo "build.sh: neither podman nor docker is installed; install podman, or set ENGINE" >&2
  exit 2
fi
echo "building $name with $engine"
"$engine" build --file "$here/Containerfile" ${BASE:+--build-arg "BASE=$BASE"} --tag "$name" "$top"
if [ "${PUSH:-}" = 1 ]; then "$engine" push "$name"; fi
