"""`slipway export`: write what was made in a cluster as YAML, for another cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from slipway.cli.errors import CommandError
from slipway.cli.selection import add_cluster_arguments, client_of
from slipway.cluster.environment.exporting import export, to_yaml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "slipway import reads it. What every cluster makes by itself is left out."
    add_cluster_arguments(parser)
    parser.add_argument(
        "--namespace", "-n", action="append", default=[], help="only what is in it; may be given again"
    )
    parser.add_argument("--output", "-o", metavar="FILE", help="write there instead of to standard output")


def run(arguments: argparse.Namespace) -> int:
    with client_of(arguments) as cluster:
        text = to_yaml(cluster.call(export(cluster.client, arguments.namespace)))
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    path = Path(arguments.output).expanduser()
    try:
        path.touch(mode=0o600)  # it holds the cluster's Secrets
        path.write_text(text)
    except OSError as error:
        raise CommandError(f"--output {arguments.output}: {error.strerror or error}", 2) from None
    return 0
