"""`slipway env`: print the shell commands that select a cluster: eval "$(slipway env)"."""

from __future__ import annotations

import argparse
import shlex

from slipway.cluster.environment import instances


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="slipway", help="of the cluster")


def run(arguments: argparse.Namespace) -> int:
    instance = instances.running(arguments.name)
    print(f"export KUBECONFIG={shlex.quote(str(instance.kubeconfig))}")
    return 0
