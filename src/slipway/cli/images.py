"""`slipway images`: say what image names stand for on this machine."""

from __future__ import annotations

import argparse
import shlex
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import yaml

from slipway.cli.errors import CommandError
from slipway.cluster.environment.instances import home
from slipway.cluster.nodes.images import MappingError, Row, read_rows, stand_ins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Running clusters see the change at the next pull."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="serve an image name (a glob) from this machine")
    add.add_argument("match", metavar="NAME", help="such as example.com/app or example.com/app:*")
    what = add.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--command", dest="program", metavar="PROGRAM", help="run this of the host's own programs"
    )
    what.add_argument("--rootfs", metavar="FOLDER", help="a folder that holds a root file system")
    what.add_argument("--oci", metavar="PATH", help="an OCI layout, or an archive of one or of docker save")
    what.add_argument(
        "--python", metavar="MODULE:FUNCTION", help="a Python function, run by this interpreter"
    )
    add.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="may be given again")
    add.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder of this machine that its containers need; for --python, where the module is; may be given again",
    )
    remove = actions.add_parser("remove", help="take a name away again")
    remove.add_argument("match", metavar="NAME")
    actions.add_parser("list", help="show all names, in the order in which they are tried")


def mapping_file() -> Path:
    return home() / "images.yaml"


def run(arguments: argparse.Namespace) -> int:
    path = mapping_file()
    try:
        rows = read_rows(path.read_text(), str(path)) if path.exists() else []
    except MappingError as error:
        raise CommandError(str(error), 2) from None
    if arguments.action == "list":
        for row in [*rows, *stand_ins()]:
            print(f"{row.match:<40} {_shown(row)}")
        return 0
    kept = [dict(row.words) for row in rows if row.match != arguments.match]
    if arguments.action == "remove":
        if len(kept) == len(rows):
            raise CommandError(
                f"{arguments.match} is not among the names that were added; see slipway images list"
            )
    else:
        kept.insert(0, _row(arguments))
    _write(path, kept)
    return 0


def _row(arguments: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"match": arguments.match}
    if arguments.program:
        row["command"] = shlex.split(arguments.program)
    for name in ("rootfs", "oci"):
        given = getattr(arguments, name)
        if given:
            row[name] = _place(f"--{name}", given)
    for pair in arguments.env:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise CommandError(f"--env {pair}: write NAME=VALUE", 2)
        row.setdefault("env", {})[name] = value
    if arguments.path:
        row["paths"] = [_place("--path", given) for given in arguments.path]
    if arguments.python:
        _check_python(arguments.python, row.get("paths", []))
        row["python"] = arguments.python
    return row


def _place(option: str, given: str) -> str:
    place = Path(given).expanduser().absolute()
    if not place.exists():
        raise CommandError(f"{option} {given}: there is no such file or folder", 2)
    return str(place)


def _check_python(target: str, folders: list[str]) -> None:
    """The module must be found by this interpreter, or in the folders; it is not imported."""
    module = target.partition(":")[0]
    top = module.partition(".")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        raise CommandError(f"--python {target}: write MODULE:FUNCTION, such as shop.worker:main", 2)
    if not any(PathFinder.find_spec(top, path) for path in (folders, None)):
        raise CommandError(
            f"--python {target}: there is no module {top!r} here; name its folder with --path", 2
        )


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"images": rows}, sort_keys=False))
    fresh.replace(path)


def _shown(row: Row) -> str:
    words = row.words
    for name in ("rootfs", "oci", "python"):
        if words.get(name):
            return f"{name} {words[name]}"
    needs = f" (where {words['requires']} is installed)" if words.get("requires") else ""
    return f"host: {shlex.join(words.get('command') or words.get('args') or ())}{needs}"
