"""`slipway import`: make the objects of a YAML file in a cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from slipway.cli.errors import CommandError
from slipway.cli.selection import add_cluster_arguments, client_of
from slipway.cluster.environment.importing import DocumentError, import_objects, read_documents


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "To what exists already the file is applied."
    parser.add_argument("file", metavar="FILE", help="as slipway export writes it; - is standard input")
    add_cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    try:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).expanduser().read_text()
        objects = read_documents(text, arguments.file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"{arguments.file}: {reason}", 2) from None
    except DocumentError as error:
        raise CommandError(str(error), 2) from None
    with client_of(arguments) as cluster:
        done = cluster.call(import_objects(cluster.client, objects))
    print(f"{done.created} created, {done.updated} updated, {len(done.failures)} refused")
    for failure in done.failures:
        print(f"refused: {failure}", file=sys.stderr)
    return 1 if done.failures else 0
