#!/usr/bin/env bash
# Build the image of one member of the workspace. Podman is preferred, Docker is used where there is none.
#   scripts/image/build.sh FOLDER [TAG]     such as operators/kco; the image is [REGISTRY/]FOLDER's last part:TAG
#     BASE=…          the Python base image, 3.11 or later; BASE=debian makes one from Debian's packages (as root)
#     CERTIFICATES=…  a file of authorities that the build trusts, where packages come through an inspecting proxy
#     OPTIONS=…       more words for the engine; --isolation=chroot lets podman build inside of a container
#     ARCHIVE=…       also write the image there, an archive that `slipway images add --oci` takes
#     PUSH=1          also push it; REGISTRY=… says where to
set -euo pipefail
case "$(uname -s)" in
  Linux | Darwin) ;;
  *) echo "build.sh: $(uname -s) is not supported; use Linux or macOS" >&2; exit 2 ;;
esac
top=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:?which folder? such as operators/kco}
tag=${2:-${TAG:-0.1.0}}
name=${REGISTRY:-localhost}/$(basename "$folder"):$tag
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
base=${BASE:-}
if [ "$base" = debian ]; then
  base=localhost/python-debian
  "$engine" image inspect "$base" >/dev/null 2>&1 || ENGINE=$engine "$top/scripts/image/python_base.sh" "$base"
fi
words=(--file "$top/$folder/Containerfile" --tag "$name")
[ -z "$base" ] || words+=(--build-arg "BASE=$base")
[ -z "${CERTIFICATES:-}" ] || words+=(--secret "id=certificates,src=$CERTIFICATES")
echo "building $name with $engine"
# shellcheck disable=SC2086  # several words
"$engine" build "${words[@]}" ${OPTIONS:-} "$top"
if [ -n "${ARCHIVE:-}" ]; then
  rm -f "$ARCHIVE"  # podman adds to no archive that is there
  "$engine" save --output "$ARCHIVE" "$name"
fi
if [ "${PUSH:-}" = 1 ]; then "$engine" push "$name"; fi
