"""`slipway doctor`: check this machine, and remove leftovers of clusters that were killed."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys

from slipway.cluster.environment import instances, leftovers
from slipway.cluster.nodes.runtimes import best_runtime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(arguments: argparse.Namespace) -> int:
    print(f"python      {platform.python_version()} at {sys.executable}")
    for program, use in (("kubectl", "to talk to clusters"), ("helm", "to install charts")):
        print(f"{program:<11} {shutil.which(program) or f'not on PATH: {use}'}")
    print(f"pods        {_pods()}")
    clean = True
    for instance in instances.all_instances():
        if instance.running:
            continue
        clean = False
        print(f"cluster {instance.name} was killed (process {instance.pid})")
        if not arguments.dry_run:
            instances.end(instance)
    for what in leftovers.find() if arguments.dry_run else leftovers.remove():
        clean = False
        print(f"  {'found' if arguments.dry_run else 'removed'} {what}")
    if arguments.dry_run:
        print("nothing is left over" if clean else "run without --dry-run to remove")
        return 0
    return _say_what_stays(clean)


def _say_what_stays(clean: bool) -> int:
    stays = leftovers.still_there()
    for what in stays:
        print(f"  could not remove {what}: it belongs to another user, or is in use")
    if stays:
        return 1
    print("nothing is left over" if clean else "done")
    return 0


def _pods() -> str:
    """What `slipway up` makes of pods here."""
    if best_runtime() != "namespaces":
        return "plain processes in the network of this machine: this user may not make namespaces"
    return "Linux namespaces" if os.geteuid() == 0 else "Linux namespaces, in a user namespace"
