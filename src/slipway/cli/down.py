"""`slipway down`: stop clusters and remove what they left."""

from __future__ import annotations

import argparse

from slipway.cli.errors import CommandError
from slipway.cluster.environment import instances, leftovers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="*", default=[], help="of the clusters (default slipway)")
    parser.add_argument("--all", action="store_true", help="every cluster of this user")


def run(arguments: argparse.Namespace) -> int:
    if arguments.all:
        names = [instance.name for instance in instances.all_instances()]
        if not names:
            print("there are no clusters")
    else:
        names = arguments.name or ["slipway"]
    for name in names:
        instance = instances.read(name)
        if instance is not None:
            instances.end(instance)
        removed = leftovers.remove(name)
        if instance is None and not removed:
            raise CommandError(f"there is no cluster {name!r}; slipway status lists those there are")
        print(f"cluster {name} is down" + "".join(f"\n  removed {what}" for what in removed))
    return 0
