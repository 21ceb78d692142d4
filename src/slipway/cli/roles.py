"""`slipway roles`: the smallest roles that allow what a caller did in a cluster, as YAML."""

from __future__ import annotations

import argparse

import orjson
import yaml

from slipway.cli.errors import CommandError
from slipway.cli.selection import add_cluster_arguments, client_of
from slipway.cluster.server.usage import PATH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Run an operator as somebody who may do everything, play its scenarios, then ask for its roles. What was"
        " done is remembered since the cluster's start, without objects' names."
    )
    add_cluster_arguments(parser)
    parser.add_argument(
        "--user", "-u", help="as `kubectl auth whoami` names them; without it those who called are listed"
    )


def run(arguments: argparse.Namespace) -> int:
    with client_of(arguments) as cluster:
        query = {"user": arguments.user} if arguments.user else {}
        response = cluster.call(cluster.client.raw("GET", PATH, query=query))
    if response.status != 200 or not isinstance(response.body, bytes):
        raise CommandError(f"the cluster answers {response.status} to {PATH}: only Slipway's own keep this")
    answer = orjson.loads(response.body)
    if not arguments.user:
        print("\n".join(answer["users"]))
        return 0
    if not answer["roles"]:
        raise CommandError(f"--user {arguments.user}: nobody of that name has called; see `slipway roles`")
    print(yaml.safe_dump_all(answer["roles"], sort_keys=False), end="")
    return 0
