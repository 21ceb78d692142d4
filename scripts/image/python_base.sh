#!/usr/bin/env bash
# Make a base image, Python on Debian, from Debian's packages alone: for machines that reach no image registry.
#   scripts/image/python_base.sh [NAME]      MIRROR=… SUITE=… ENGINE=…      needs root and mmdebstrap (or debootstrap)
set -euo pipefail
name=${1:-localhost/python-debian}
suite=${SUITE:-bookworm}
# google-re2 needs the C++ library.
packages=python3,python3-venv,ca-certificates,libstdc++6
engine=${ENGINE:-podman}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if command -v mmdebstrap >/dev/null; then
  # No documentation, no translations: an image is read by programs.
  exclude=()
  for part in doc man locale info; do exclude+=(--dpkgopt="path-exclude=/usr/share/$part/*"); done
  mmdebstrap --quiet --variant=essential --include="$packages" --aptopt='APT::Install-Recommends "false"' \
    "${exclude[@]}" "$suite" "$work/base.tar" ${MIRROR:+"$MIRROR"}
elif command -v debootstrap >/dev/null; then
  debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" ${MIRROR:+"$MIRROR"} >"$work/log" ||
    { cat "$work/log" >&2; exit 1; }
  tar -C "$work/root" --numeric-owner -cf "$work/base.tar" .
else
  echo "python_base.sh: neither mmdebstrap nor debootstrap is installed; install mmdebstrap" >&2
  exit 2
fi
"$engine" import "$work/base.tar" "$name" >/dev/null
echo "$name"
