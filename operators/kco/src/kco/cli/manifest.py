"""TargetApps in YAML files, for the subcommands that need no cluster."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kco.cli.main import Misuse
from kco.spec.document import suggestion
from kco.spec.targetapp import API_VERSION
from kco.spec.yaml_file import Unreadable, read_documents


@dataclass(frozen=True)
class Manifest:
    """One TargetApp and the file that it stands in."""

    path: Path
    name: str
    namespace: str
    spec: Any


@dataclass(frozen=True)
class Manifests:
    """What was found, and what could not be read; `faults` are lines that begin with their file."""

    apps: list[Manifest] = field(default_factory=list)
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def load(paths: list[str]) -> Manifests:
    """All TargetApps (and ConfigMaps, which may hold schemas) of files and folders; Misuse if there is any fault."""
    found = collect(paths)
    if found.faults:
        raise Misuse(found.faults[0])
    if not found.apps:
        raise Misuse("no TargetApp in " + ", ".join(paths))
    return found


def collect(paths: list[str]) -> Manifests:
    """The same, with the faults among the findings; a path that does not exist is a Misuse even here."""
    found = Manifests()
    for path in _files(paths):
        try:
            for document in read_documents(path):
                for body in _objects(document):
                    _add(found, path, body)
        except Unreadable as failure:
            found.faults.append(str(failure))
    return found


def chosen(apps: list[Manifest], name: str | None, file: str) -> list[Manifest]:
    """The TargetApps of that name; all where none is given."""
    found = [app for app in apps if name in (None, app.name)]
    if not found:
        raise Misuse(f"{file}: no TargetApp {name!r}{suggestion(str(name), [app.name for app in apps])}")
    return found


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """The object of a document, or the objects of a List (`kubectl get -o yaml` prints one)."""
    if not isinstance(document, dict):
        return
    items = document.get("items")
    if document.get("kind") in ("List", "TargetAppList") and isinstance(items, list):
        yield from (item for item in items if isinstance(item, dict))
    else:
        yield document


def _add(found: Manifests, path: Path, body: dict[str, Any]) -> None:
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = str(metadata.get("name") or "(no name)")
    if body.get("kind") == "ConfigMap" and isinstance(body.get("data"), dict):
        found.config_maps[name] = {key: str(value) for key, value in body["data"].items()}
    if body.get("kind") != "TargetApp":
        return
    if body.get("apiVersion") != API_VERSION:
        given = body.get("apiVersion")
        found.faults.append(f"{path}: {name}: apiVersion {given!r}, expected {API_VERSION}")
        return
    found.apps.append(Manifest(path, name, str(metadata.get("namespace") or "default"), body.get("spec")))


def _files(paths: list[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
            found += sorted(file for file in inside if file.suffix in (".yaml", ".yml"))
        elif not path.exists():
            raise Misuse(f"{text}: No such file or directory")
        else:
            found.append(path)
    return found
