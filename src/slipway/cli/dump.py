"""`slipway dump`: write all that a cluster can tell of its state, for somebody who was not there."""

from __future__ import annotations

import argparse
from pathlib import Path

from slipway.cli.errors import CommandError
from slipway.cli.selection import add_cluster_arguments, client_of
from slipway.cluster.environment import instances
from slipway.cluster.environment.dump_files import DumpError, dump_files
from slipway.cluster.environment.dumping import dump


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Values of Secrets are masked wherever they stand, also in logs. Only you can read what is written."
    )
    add_cluster_arguments(parser)
    parser.add_argument(
        "--output",
        "-o",
        metavar="PATH",
        help="a new folder, or a file that ends with .tar.gz (dump-NAME.tar.gz by default)",
    )


def run(arguments: argparse.Namespace) -> int:
    named = Path(arguments.kubeconfig).stem if arguments.kubeconfig else arguments.name
    path = Path(arguments.output or f"dump-{named}.tar.gz").expanduser()
    log = None if arguments.kubeconfig else _log(arguments.name)
    try:
        with client_of(arguments) as cluster, dump_files(path) as files:
            summary = cluster.call(dump(cluster.client, files, log))
    except DumpError as error:
        raise CommandError(f"--output {error}", 2) from None
    print(f"{path}: {sum(summary.objects.values())} objects in {summary.files} files")
    for what in summary.not_read:
        print(f"not read: {what}")
    for what in summary.shortened:
        print(f"shortened: {what}")
    return 0


def _log(name: str) -> Path | None:
    """What a detached cluster said; one in the foreground said it to its terminal."""
    path = instances.folder_of(name) / "log"
    return path if path.exists() else None
