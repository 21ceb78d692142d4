"""kco history: print recorded states and decisions."""

import argparse
import asyncio

import orjson

from kco.cli.recorded import entries
from operator_kit.clock import to_rfc3339


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the TargetApp")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--url", help="history database (default: $KCO_HISTORY_URL)")
    parser.add_argument("--since", help="a time, or a length of time before now (7d)")
    parser.add_argument("--until")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(options: argparse.Namespace) -> int:
    kinds = ("state", "down", "decision")
    rows = asyncio.run(
        entries(options.url, options.namespace, options.name, options.since, options.until, kinds)
    )
    for row in rows:
        if options.output == "json":
            line = {"at": to_rfc3339(row.at), "kind": row.kind, "instance": row.instance, "body": row.body}
            print(orjson.dumps(line).decode())
        else:
            body = orjson.dumps(row.body).decode()
            where = f" {row.instance}" if row.instance else ""
            print(
                f"{to_rfc3339(row.at)} {row.kind:8}{where} {row.rule + ' ' if row.rule else ''}{body[:200]}"
            )
    return 0
