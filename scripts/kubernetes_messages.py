"""Regenerates `slipway/cluster/schema/data/<minor>/messages.json.gz`: how protobuf bodies become JSON objects.

    uv run python scripts/kubernetes_messages.py 0.37.0     # needs the `go` command

Source: the Go modules `k8s.io/api`, `apimachinery`, `apiextensions-apiserver`, `kube-aggregator` and `metrics` of
the release (Apache-2.0). Field numbers and wire types come from `generated.proto`; what JSON calls a field and
when it leaves it out comes from the struct tags beside it. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).resolve().parent.parent / "src/slipway/cluster/schema/data"
MODULES = ("api", "apimachinery", "apiextensions-apiserver", "kube-aggregator", "metrics")
NOT_SERVED = re.compile(r"testapigroup|/example|/testing|imagepolicy|custom_metrics|external_metrics")

SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double", "float"}
JsonObject = dict[str, Any]


class Tag(NamedTuple):
    """What a struct says of one field."""

    json_name: str
    pointer: bool
    omit_empty: bool
    inline: bool


def module(name: str, version: str) -> Path:
    """Where the ordinary Go client puts a module, downloading it when needed."""
    with tempfile.TemporaryDirectory() as scratch:
        answer = subprocess.run(
            ["go", "mod", "download", "-json", f"k8s.io/{name}@v{version}"],
            cwd=scratch,
            check=True,
            capture_output=True,
            text=True,
        )
    return Path(json.loads(answer.stdout)["Dir"])


def packages(version: str) -> Iterator[Path]:
    for name in MODULES:
        for found in sorted(module(name, version).rglob("generated.proto")):
            if not NOT_SERVED.search(str(found)):
                yield found.parent


def struct_tags(package: Path) -> dict[str, dict[str, Tag]]:
    """struct -> protobuf name -> tag."""
    structs: dict[str, dict[str, Tag]] = {}
    field = re.compile(r"^\t(\w+\s+)?([*\[\]\w.]+)\s+`([^`]*)`", re.MULTILINE)
    for source in sorted(package.glob("*.go")):
        if source.name.endswith(("_test.go", ".pb.go")):
            continue
        for name, body in re.findall(r"^type (\w+) struct \{\n(.*?)^\}", source.read_text(), re.M | re.S):
            for go_name, go_type, tags in field.findall(body):
                said = dict(re.findall(r'(\w+):"([^"]*)"', tags))
                if "protobuf" not in said:
                    continue
                named = re.search(r"name=(\w+)", said["protobuf"])
                go_name = go_name.strip()
                default = go_name or go_type.rpartition(".")[2]
                known_as = named[1] if named else default[:1].lower() + default[1:]
                json_name, *options = said.get("json", "").split(",")
                structs.setdefault(name, {})[known_as] = Tag(
                    json_name,
                    pointer=go_type.startswith("*"),
                    omit_empty="omitempty" in options,
                    inline=not go_name and not json_name,
                )
    return structs


def messages(package: Path) -> tuple[str, JsonObject]:
    """(protobuf package, message -> field number -> [JSON name, type, flags])."""
    text = re.sub(r"//.*", "", (package / "generated.proto").read_text())
    found = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
    assert found is not None, package
    name = found[1]
    structs = struct_tags(package)
    result: JsonObject = {}
    for message, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.M | re.S):
        tags = structs.get(message)
        fields = _fields_of(body)
        stands_for_list = tags is None and [field[2] for field in fields] == ["items"]
        result[f"{name}.{message}"] = {
            number: _field(name, tags, *parts, "u" if stands_for_list else "") for *parts, number in fields
        }
    return name, result


def _fields_of(body: str) -> list[tuple[str, str, str, str]]:
    """(label, type, name, number); a map has the label "map" and its values' type."""
    fields = re.findall(r"^\s*(optional|repeated)\s+([\w.]+)\s+(\w+)\s*=\s*(\d+)", body, re.MULTILINE)
    fields += [
        ("map", *rest) for rest in re.findall(r"^\s*map<string, ([\w.]+)>\s+(\w+)\s*=\s*(\d+)", body, re.M)
    ]
    return sorted(fields, key=lambda field: int(field[3]))


def _field(
    package: str, tags: dict[str, Tag] | None, label: str, of: str, name: str, flags: str
) -> list[str]:
    """Flags: r repeated, m map, i inline (its fields belong to the parent), z left out when zero, u the message
    stands for this list (a Go slice that protobuf needs wrapped, such as ExtraValue)."""
    tag = (tags or {}).get(name) or Tag(name, True, False, False)
    flags += {"repeated": "r", "map": "m", "optional": ""}[label]
    if tag.inline:
        flags += "i"
    if label == "optional" and not tag.pointer and tag.omit_empty:
        flags += "z"
    if of not in SCALARS:
        of = of.removeprefix(".") if of.startswith(".") else f"{package}.{of}"
    return [tag.json_name or name, of, flags]


def group_version(package: Path) -> str | None:
    """`apps/v1`, as the package's register.go has it; None for what is no API group."""
    register = package / "register.go"
    named = (
        re.search(r'^(?:const |\t)GroupName\s*=\s*"([\w.]*)"', register.read_text(), re.M)
        if register.exists()
        else None
    )
    if named is None:
        return None
    return f"{named[1]}/{package.name}" if named[1] else package.name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", help="version of the modules, for example 0.37.0")
    version = parser.parse_args().version
    content: JsonObject = {"packages": {}, "messages": {}}
    for package in packages(version):
        name, found = messages(package)
        content["messages"].update(found)
        served = group_version(package)
        if served is not None:
            content["packages"][served] = name
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    path = DATA / f"1.{version.split('.')[1]}" / "messages.json.gz"
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(
        f"{path.relative_to(DATA.parent)}: {path.stat().st_size} bytes, {len(content['messages'])} messages"
    )


if __name__ == "__main__":
    main()
