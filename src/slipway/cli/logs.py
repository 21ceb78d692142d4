"""`slipway logs`: show what a detached cluster's control plane said."""

from __future__ import annotations

import argparse
import sys
import time

from slipway.cli.errors import CommandError
from slipway.cluster.environment import instances


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="slipway", help="of the cluster")
    parser.add_argument("--follow", "-f", action="store_true", help="go on until the cluster ends")


def run(arguments: argparse.Namespace) -> int:
    path = instances.folder_of(arguments.name) / "log"
    if not path.exists():
        raise CommandError(
            f"cluster {arguments.name!r} has no log: it does not exist, or it runs in the foreground elsewhere"
        )
    with path.open() as log:
        while True:
            sys.stdout.write(log.read())
            sys.stdout.flush()
            instance = instances.read(arguments.name)
            if not arguments.follow or instance is None or not instance.running:
                return 0
            time.sleep(0.2)
