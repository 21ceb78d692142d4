"""`slipway env`: print the shell commands that select a cluster: eval "$(slipway env)"."""

from __future__ import annotations

import argparse
import shlex

from slipway.cli.errors import CommandError
from slipway.cluster.environment import instances


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="slipway", help="of the cluster")


def run(arguments: argparse.Namespace) -> int:
    try:
        instance = instances.running(arguments.name)
    except instances.InstanceError as error:
        raise CommandError(str(error)) from None
    print(f"export KUBECONFIG={shlex.quote(str(instance.kubeconfig))}")
    return 0
