"""`slipway status`: show the clusters of this user."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict

from slipway.cluster.environment import instances
from slipway.cluster.server.printers.durations import human_duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", "-o", choices=("table", "json"), default="table")


def run(arguments: argparse.Namespace) -> int:
    found = instances.all_instances()
    if arguments.output == "json":
        print(json.dumps([{**asdict(one), "running": one.running} for one in found], indent=2))
        return 0
    if not found:
        print("no clusters; start one: slipway up --detach")
        return 0
    rows = [("NAME", "STATUS", "NODES", "RUNTIME", "STATE", "AGE", "SERVER")]
    for one in found:
        status = "running" if one.running else "killed (slipway doctor cleans up)"
        age = human_duration(time.time() - one.created)
        rows.append((one.name, status, str(one.nodes), one.runtime, one.state, age, one.url))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
