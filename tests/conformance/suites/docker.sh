#!/bin/sh
# Answers where a suite builds an image before it begins: what the name stands for is declared in the cluster already.
case "$1" in
build) ;;
*) echo "docker $*: not known to this stand-in" >&2; exit 1 ;;
esac
