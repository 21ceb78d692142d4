"""Which cluster a command is about: one of ours by its name, or any other by its kubeconfig."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from slipway.cli.errors import CommandError
from slipway.cluster.client.http import KubeconfigError
from slipway.cluster.environment import instances
from slipway.cluster.environment.blocking_client import BlockingClient
from slipway.cluster.status import StatusError


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="slipway", help="of the cluster")
    parser.add_argument("--kubeconfig", metavar="FILE", help="of any cluster, instead of one of ours")


@contextlib.contextmanager
def client_of(arguments: argparse.Namespace) -> Iterator[BlockingClient]:
    """A client of the cluster; CommandError when it is not there, or refuses what is asked of it."""
    try:
        if arguments.kubeconfig:
            path = Path(arguments.kubeconfig).expanduser()
        else:
            path = instances.running(arguments.name).kubeconfig
        with BlockingClient(path, f"slipway-{arguments.command}") as client:
            yield client
    except KubeconfigError as error:
        raise CommandError(str(error), 2) from None
    except (StatusError, OSError) as error:
        raise CommandError(str(error)) from None
