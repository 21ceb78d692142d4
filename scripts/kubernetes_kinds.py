"""Regenerates `slipway/cluster/schema/data/<minor>/`: the built-in kinds as Kubernetes itself publishes them.

    uv run python scripts/kubernetes_kinds.py 1.37.0        # needs the `go` command
    uv run python scripts/kubernetes_kinds.py 1.37.0 --source DIR   # a source tree of that release

Source: the Go module `k8s.io/kubernetes` of the release (Apache-2.0), namely `api/discovery/*` (resources, verbs,
subresources), `api/openapi-spec/v3/*` (paths, and definitions with list types, merge keys and defaults) and
`pkg/generated/openapi` (enumerations).
The same input gives the same bytes.
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
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "src/slipway/cluster/schema/data"
GENERAL = re.compile(r"^v\d+$")  # beta and alpha versions are off unless asked for, since Kubernetes 1.24
STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
JsonObject = dict[str, Any]


def source_tree(version: str) -> Path:
    """Where the ordinary Go client puts the release's module, downloading it when needed."""
    with tempfile.TemporaryDirectory() as scratch:
        answer = subprocess.run(
            ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"],
            cwd=scratch,
            check=True,
            capture_output=True,
            text=True,
        )
    return Path(json.loads(answer.stdout)["Dir"])


def resources(tree: Path) -> JsonObject:
    """`{group versions: [...], resources: [...]}` in the order in which the API server lists them."""
    core = _discovery_of_core(json.loads((tree / "api/discovery/api__v1.json").read_text()))
    groups = [core, *json.loads((tree / "api/discovery/aggregated_v2.json").read_text())["items"]]
    return {
        "groups": [
            {
                "name": group["metadata"].get("name", ""),
                "versions": [
                    {
                        "version": version["version"],
                        "default": bool(GENERAL.match(version["version"])),
                        "resources": _resources(tree, group["metadata"].get("name", ""), version),
                    }
                    for version in group["versions"]
                ],
            }
            for group in groups
        ]
    }


def _resources(tree: Path, group: str, version: JsonObject) -> list[JsonObject]:
    parts = ("apis", group, version["version"]) if group else ("api", version["version"])
    document = json.loads((tree / f"api/openapi-spec/v3/{'__'.join(parts)}_openapi.json").read_text())
    returning = {
        path.split("/")[-2]
        for path, item in document["paths"].items()
        if path.endswith("/{name}") and "delete" in item and _answer(item["delete"]) != STATUS
    }
    return [_resource(item, returning) for item in version["resources"]]


def _answer(operation: JsonObject) -> str:
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return str(schema["$ref"]).rpartition("/")[2]


def _discovery_of_core(listing: JsonObject) -> JsonObject:
    """The core group's plain listing, brought to the form of the aggregated document (which omits it)."""
    found: dict[str, JsonObject] = {}
    for item in listing["resources"]:
        kind = {key: item.get(key, "") for key in ("group", "version", "kind")}
        if "/" in item["name"]:
            continue
        found[item["name"]] = {
            "resource": item["name"],
            "responseKind": kind,
            "scope": "Namespaced" if item["namespaced"] else "Cluster",
            "singularResource": item["singularName"],
            "verbs": item["verbs"],
            "shortNames": item.get("shortNames", []),
            "categories": item.get("categories", []),
            "subresources": [],
        }
    for item in listing["resources"]:
        kind = {key: item.get(key, "") for key in ("group", "version", "kind")}
        parent, _, sub = item["name"].partition("/")
        if sub:
            found[parent]["subresources"].append(
                {"subresource": sub, "responseKind": kind, "verbs": item["verbs"]}
            )
    return {"metadata": {}, "versions": [{"version": "v1", "resources": list(found.values())}]}


def _resource(item: JsonObject, returning: set[str]) -> JsonObject:
    compact = {
        "plural": item["resource"],
        "singular": item["singularResource"],
        "kind": item["responseKind"]["kind"],
        "namespaced": item["scope"] == "Namespaced",
        "verbs": item["verbs"],
        "shortNames": item.get("shortNames", []),
        "categories": item.get("categories", []),
        "deleteReturnsObject": item["resource"] in returning,
        "subresources": [
            {
                "name": sub["subresource"],
                "group": sub["responseKind"].get("group", ""),
                "version": sub["responseKind"].get("version", ""),
                "kind": sub["responseKind"]["kind"],
                "verbs": sub["verbs"],
            }
            for sub in item.get("subresources", [])
        ],
    }
    return {key: value for key, value in compact.items() if value not in ([], False) or key == "namespaced"}


def definitions(tree: Path) -> tuple[JsonObject, JsonObject]:
    """(definitions without prose, their prose): name -> schema, name -> {"": text, property: text}."""
    merged: JsonObject = {}
    for document in sorted((tree / "api/openapi-spec/v3").glob("*_openapi.json")):
        schemas = json.loads(document.read_text()).get("components", {}).get("schemas", {})
        for name, schema in schemas.items():
            _merge_kinds(merged.setdefault(name, schema), schema)
    _add_enumerations(tree, merged)
    bare, prose = {}, {}
    for name in sorted(merged):
        texts = {"": merged[name].get("description", "")}
        for field, schema in merged[name].get("properties", {}).items():
            texts[field] = schema.get("description", "")
        prose[name] = {field: text for field, text in texts.items() if text}
        bare[name] = _compact(merged[name])
    return bare, prose


def enumerations(tree: Path) -> Iterator[tuple[str, str, bool, list[str], str]]:
    """(definition, field, whether its items or map values are meant, values, description).

    The published documents leave enumerations out (a feature that is off where they are made), the server has
    them: from the generated Go tables that it is built from.
    """
    source = tree / "pkg/generated/openapi/zz_generated.openapi.go"
    text = source.read_text() if source.exists() else ""
    modules = {
        "k8sio_api": "io.k8s.api",
        "pkg_apis_apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    }
    functions = re.findall(
        r"^func schema_(k8sio_api|pkg_apis_apiextensions)_(\w+)\(.*?\{$(.*?)^\}",
        text,
        re.MULTILINE | re.DOTALL,
    )
    properties = re.compile(r'^\t{5}"([^"]+)": \{$(.*?)^\t{5}\},$', re.MULTILINE | re.DOTALL)
    listed = re.compile(r"^(\t{7}|\t{10})Enum: +\[\]interface\{\}\{(.*)\},$", re.MULTILINE)
    described = re.compile(r'^\t{7}Description: ("(?:[^"\\]|\\.)*"),$', re.MULTILINE)
    for module, function, body in functions:
        for field, facts in properties.findall(body):
            for indent, values in listed.findall(facts):
                description = described.search(facts)
                yield (
                    f"{modules[module]}.{function.replace('_', '.')}",
                    field,
                    len(indent) > 7,
                    json.loads(f"[{values}]"),
                    json.loads(description[1]) if description else "",
                )


def _add_enumerations(tree: Path, definitions: JsonObject) -> None:
    for name, field, of_items, values, description in enumerations(tree):
        schema = definitions[name]["properties"][field] if name in definitions else {}
        values_of = schema.get("items") or schema.get("additionalProperties", {}) if of_items else schema
        values_of["enum"] = values
        if description:
            schema["description"] = description


def _merge_kinds(into: JsonObject, schema: JsonObject) -> None:
    """DeleteOptions and WatchEvent belong to every group; each document names only some of them."""
    key = "x-kubernetes-group-version-kind"
    for kind in schema.get(key, []):
        if kind not in into[key]:
            into[key].append(kind)


def _compact(schema: JsonObject) -> JsonObject:
    """Without prose, with the full names of definitions instead of references: {"ref": name}."""
    compact: JsonObject = {}
    for key, value in schema.items():
        if key == "description":
            continue
        if key == "$ref":
            compact["ref"] = value.rpartition("/")[2]
        elif key == "allOf":  # how OpenAPI 3.0 hangs a default or a text on a reference
            (only,) = value
            compact["ref"] = only["$ref"].rpartition("/")[2]
        elif key == "properties":
            compact[key] = {field: _compact(part) for field, part in value.items()}
        elif key in ("items", "additionalProperties"):
            compact[key] = _compact(value)
        else:
            compact[key] = value
    return compact


def paths(tree: Path) -> JsonObject:
    """Every published path, less the deprecated `/watch/` ones: documents, and the tables they point into."""
    parameters, media_types = Table(), Table()
    documents: JsonObject = {}
    for source in sorted((tree / "api/openapi-spec/v3").iterdir()):
        if source.name.endswith("_openapi.json"):
            name = source.name.removesuffix("_openapi.json").replace("__", "/")
            documents[name] = {
                path: {
                    method: [parameters.add(parameter) for parameter in operation]
                    if method == "parameters"
                    else _operation(operation, parameters, media_types)
                    for method, operation in item.items()
                }
                for path, item in json.loads(source.read_text())["paths"].items()
                if "/watch/" not in path
            }
    return {"parameters": parameters.rows, "mediaTypes": media_types.rows, "documents": documents}


def _operation(operation: JsonObject, parameters: Table, media_types: Table) -> JsonObject:
    compact = dict(operation)
    if "parameters" in operation:
        compact["parameters"] = [parameters.add(parameter) for parameter in operation["parameters"]]
    if "requestBody" in operation:
        compact["requestBody"] = _content(operation["requestBody"], media_types)
    compact["responses"] = {
        code: _content(answer, media_types) for code, answer in operation["responses"].items()
    }
    return compact


def _content(part: JsonObject, media_types: Table) -> JsonObject:
    """One schema for all its media types, said once."""
    compact = {key: value for key, value in part.items() if key != "content"}
    if "content" in part:
        first, *others = part["content"].values()
        assert all(other == first for other in others), part
        served = [media_type for media_type in part["content"] if "cbor" not in media_type]  # off by default
        compact["mediaTypes"] = media_types.add(sorted(served))
        if "schema" in first:
            compact["schema"] = _compact(first["schema"])
    return compact


class Table:
    """Rows without repetition, each known by its place."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._places: dict[str, int] = {}

    def add(self, row: Any) -> int:
        place = self._places.setdefault(json.dumps(row, sort_keys=True), len(self.rows))
        if place == len(self.rows):
            self.rows.append(row)
        return place


def write(path: Path, content: JsonObject) -> None:
    text = json.dumps(content, separators=(",", ":"), sort_keys=False, ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{path.relative_to(DATA.parent)}: {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", help="full version of the release, for example 1.37.0")
    parser.add_argument("--source", type=Path, help="source tree of that release, instead of the Go module")
    arguments = parser.parse_args()
    tree = arguments.source or source_tree(arguments.version)
    folder = DATA / arguments.version.rpartition(".")[0]
    folder.mkdir(parents=True, exist_ok=True)
    bare, prose = definitions(tree)
    write(folder / "resources.json.gz", resources(tree))
    write(folder / "definitions.json.gz", bare)
    write(folder / "prose.json.gz", prose)
    write(folder / "paths.json.gz", paths(tree))


if __name__ == "__main__":
    main()
