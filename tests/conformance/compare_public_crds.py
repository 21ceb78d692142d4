"""Asks our API server and a real one the same about public operators' CRDs and sample objects, and prints where the
answers differ.

    python tests/conformance/compare_public_crds.py FOLDER [PROJECT ...] --server URL --token TOKEN

FOLDER holds checkouts, one folder a project. Every CustomResourceDefinition found in their YAML files is sent (as a
dry run, and then once for real), then every object of the kinds that they define: created in a dry run with strict
and with lenient validation, and applied in a dry run. What is unique to a run (uids, times, revisions) is left out
of the comparison. The definitions are deleted again afterwards. Prints a Markdown row a project, and each difference.
Exits 1 when answers differ.
"""

from __future__ import annotations

import argparse
import copy
import json
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slipway.cluster import Cluster

Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
APPLY = "application/apply-patch+yaml"
MASKED = {"uid", "creationTimestamp", "resourceVersion", "time", "lastTransitionTime"}
LARGEST_FILE = 3_000_000
PATIENCE = 60.0  # seconds until a definition is served, or gone
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    warnings: tuple[str, ...] = ()


class Server:
    """One API server, asked over HTTPS without looking at its certificate."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._tls = ssl._create_unverified_context()

    def ask(
        self, method: str, path: str, body: Object | None = None, media: str = "application/json"
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": media, "User-Agent": "compare"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self._tls, timeout=60) as response:
                return _answer(response.status, response.read(), response.headers)
        except urllib.error.HTTPError as error:
            return _answer(error.code, error.read(), error.headers)


def _answer(status: int, body: bytes, headers: Any) -> Answer:
    try:
        said = json.loads(body or b"null")
    except ValueError:
        said = body.decode(errors="replace")  # "404 page not found"
    return Answer(status, said, tuple(headers.get_all("Warning") or ()))


@dataclass
class Project:
    """What a project's files hold: definitions by name (a name may have several), and all other objects."""

    name: str
    definitions: dict[str, list[Object]] = field(default_factory=dict)
    objects: list[tuple[str, Object]] = field(default_factory=list)


@dataclass
class Tally:
    asked: int = 0
    differences: list[str] = field(default_factory=list)

    def compare(self, what: str, ours: Answer, real: Answer) -> None:
        self.asked += 1
        found = list(_differences(_comparable(ours), _comparable(real)))
        if found:
            self.differences.append(
                f"{what}: {ours.status} here, {real.status} there: " + "; ".join(found[:3])
            )


def read(folder: Path) -> Project:
    project = Project(folder.name)
    for path in sorted(folder.rglob("*.y*ml")):
        for document in _documents(path):
            metadata = document.get("metadata")
            if not document.get("kind") or not document.get("apiVersion") or not isinstance(metadata, dict):
                continue
            if document["kind"] == "CustomResourceDefinition":
                if document["apiVersion"] == "apiextensions.k8s.io/v1" and metadata.get("name"):
                    variants = project.definitions.setdefault(metadata["name"], [])
                    if document not in variants:
                        variants.append(document)
            else:
                project.objects.append((str(path.relative_to(folder)), document))
    return project


def _documents(path: Path) -> Iterator[Object]:
    """The documents of a file that is YAML and not a template."""
    try:
        text = path.read_text()
        if "{{" in text or len(text) > LARGEST_FILE:
            return
        for document in yaml.load_all(text, LOADER):
            if isinstance(document, dict):
                yield json.loads(json.dumps(document))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError):
        return


def _comparable(answer: Answer) -> Object:
    return {"status": answer.status, "warnings": sorted(answer.warnings), "body": _masked(answer.body)}


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _masked(item) for name, item in value.items() if name not in MASKED}
    if kept.get("kind") == "Status" and (kept.get("details") or {}).get("causes"):
        kept.pop("message")  # the causes in one text, in an order that Go's maps decide
        kept["details"]["causes"].sort(key=json.dumps)
    elif kept.get("kind") == "Status":
        kept["message"] = sorted(
            str(kept.get("message")).splitlines()
        )  # of several errors, in no order either
    return kept


def _differences(ours: Any, real: Any, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(real, dict):
        for name in sorted(ours.keys() | real.keys()):
            yield from _differences(ours.get(name, "nothing"), real.get(name, "nothing"), f"{path}.{name}")
    elif isinstance(ours, list) and isinstance(real, list) and len(ours) == len(real):
        for index, pair in enumerate(zip(ours, real, strict=True)):
            yield from _differences(*pair, f"{path}[{index}]")
    elif ours != real:
        yield f"{path} {str(ours)[:200]!r} here, {str(real)[:200]!r} there"


def compare(project: Project, ours: Server, real: Server) -> tuple[Tally, Tally]:
    """The tallies of the definitions and of the objects."""
    definitions, objects = Tally(), Tally()
    kinds: dict[tuple[str, str], Object] = {}
    for name, variants in project.definitions.items():
        _gone(real, name)
        for variant in variants:
            dry = [server.ask("POST", f"{CRDS}?dryRun=All", variant) for server in (ours, real)]
            definitions.compare(f"{project.name} {name}", *dry)
            spec = variant.get("spec") or {}
            key = (str(spec.get("group")), str((spec.get("names") or {}).get("kind")))
            if [answer.status for answer in dry] == [201, 201] and key not in kinds:
                for server in (ours, real):
                    server.ask("POST", CRDS, variant)
                kinds[key] = variant
    try:
        for variant in kinds.values():
            name = variant["metadata"]["name"]
            definitions.compare(
                f"{project.name} {name} served", *(_served(one, name) for one in (ours, real))
            )
        time.sleep(3 if kinds else 0)  # a real server takes a moment from saying so to doing so
        for path, obj in project.objects:
            group, _, version = str(obj["apiVersion"]).rpartition("/")
            definition = kinds.get((group, str(obj["kind"])))
            if definition is not None:
                _compare_object(f"{project.name}/{path}", obj, version, definition, ours, real, objects)
    finally:
        for variant in kinds.values():
            for server in (ours, real):
                server.ask("DELETE", f"{CRDS}/{variant['metadata']['name']}")
    return definitions, objects


def _compare_object(
    what: str, obj: Object, version: str, definition: Object, ours: Server, real: Server, tally: Tally
) -> None:
    obj = copy.deepcopy(obj)
    obj["metadata"].pop("namespace", None)
    if obj["metadata"].get("generateName"):
        obj["metadata"]["name"] = "generated"
    spec = definition["spec"]
    place = "namespaces/default/" if spec["scope"] == "Namespaced" else ""
    path = f"/apis/{spec['group']}/{version}/{place}{spec['names']['plural']}"
    for validation in ("Strict", "Warn"):
        query = f"?dryRun=All&fieldValidation={validation}"
        answers = (server.ask("POST", path + query, obj) for server in (ours, real))
        tally.compare(f"{what} created ({validation})", *answers)
    name = obj["metadata"].get("name")
    if isinstance(name, str) and name:
        one = f"{path}/{urllib.parse.quote(name)}?fieldManager=compare&dryRun=All"
        answers = (server.ask("PATCH", one, obj, APPLY) for server in (ours, real))
        tally.compare(f"{what} applied", *answers)


def _served(server: Server, name: str) -> Answer:
    """The definition's conditions once it is established, or has been refused its names."""
    end = time.monotonic() + PATIENCE
    while True:
        found = server.ask("GET", f"{CRDS}/{name}")
        conditions = (found.body.get("status") or {}).get("conditions") or []
        established = next((one for one in conditions if one["type"] == "Established"), {})
        if established.get("reason") not in (None, "Installing") or time.monotonic() > end:
            return Answer(found.status, sorted(conditions, key=lambda one: str(one["type"])))
        time.sleep(0.2)


def _gone(server: Server, name: str) -> None:
    """Remove what an earlier run left."""
    end = time.monotonic() + PATIENCE
    while server.ask("DELETE", f"{CRDS}/{name}").status != 404 and time.monotonic() < end:
        time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--server", required=True, help="URL of a real API server")
    parser.add_argument("--token", required=True, help="bearer token of one who may do everything there")
    parser.add_argument("projects", nargs="*", help="folders in FOLDER; all when none is named")
    arguments = parser.parse_args()
    real, clean = Server(arguments.server, arguments.token), True
    print("| project | definitions: asked | differ | objects: asked | differ |\n|---|---|---|---|---|")
    with Cluster(nodes=0) as cluster:
        ours = Server(cluster.url, cluster.admin_token)
        for folder in sorted(arguments.folder.iterdir()):
            if arguments.projects and folder.name not in arguments.projects:
                continue
            definitions, objects = compare(read(folder), ours, real)
            counts = (f"{tally.asked} | {len(tally.differences)}" for tally in (definitions, objects))
            print(f"| {folder.name} | {' | '.join(counts)} |", flush=True)
            for difference in (*definitions.differences, *objects.differences):
                clean = False
                print("   ", difference, file=sys.stderr, flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
