"""`slipway kubeconfig`: print a cluster's kubeconfig, or its path."""

from __future__ import annotations

import argparse
import sys

from slipway.cluster.environment import instances


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="slipway", help="of the cluster")
    parser.add_argument("--path", action="store_true", help="print where the file is instead")


def run(arguments: argparse.Namespace) -> int:
    instance = instances.running(arguments.name)
    if arguments.path:
        print(instance.kubeconfig)
    else:
        sys.stdout.write(instance.kubeconfig.read_text())
    return 0
