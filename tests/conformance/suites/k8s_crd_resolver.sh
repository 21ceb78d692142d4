#!/bin/sh
# Answers where dask-kubernetes calls k8s-crd-resolver, whose schemas are too big to be had here: k8s-crd-resolver -r -j
# PATCH SOURCE TARGET. What that program made of SOURCE lies in the chart of the same checkout.
[ "$1 $2" = "-r -j" ] || { echo "k8s-crd-resolver $*: not known to this stand-in" >&2; exit 1; }
folder=$(dirname "$4")/..
cp "$folder/deployment/helm/dask-kubernetes-operator/crds/$(basename "$4")" "$5"
