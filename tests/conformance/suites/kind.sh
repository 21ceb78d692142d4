#!/bin/sh
# Answers where pytest-kind calls `kind`: the cluster is there already, its kubeconfig is copied where it was asked for.
# KIND_CLUSTER_KUBECONFIG is set by third_party_suites.py.
case "$1 $2" in
"create cluster")
    for word in "$@"; do
        case "$word" in --kubeconfig=*) cp "$KIND_CLUSTER_KUBECONFIG" "${word#--kubeconfig=}" ;; esac
    done ;;
"get clusters" | "delete cluster" | "load docker-image") ;;
*) echo "kind $*: not known to this stand-in" >&2; exit 1 ;;
esac
