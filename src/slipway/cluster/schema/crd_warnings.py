"""What a server accepts with a warning: formats that it does not know, sets of objects, bare finalizer names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slipway.cluster.schema import names
from slipway.cluster.schema.structural_formats import is_checked_format
from slipway.cluster.status import go_quote

Object = dict[str, Any]
_STANDARD_FINALIZERS = frozenset(["kubernetes", "orphan", "foregroundDeletion"])
_WITHOUT_COLLISIONS = "to avoid accidental conflicts with other finalizer writers"


def crd_warnings(crd: Object, old: Object | None) -> list[str]:
    """What is new to warn of in the schemas of a CustomResourceDefinition."""
    known = set() if old is None else set(_of_schemas(old))
    return [text for text in dict.fromkeys(_of_schemas(crd)) if text not in known]


def finalizer_warnings(obj: Object, old: Object | None) -> list[str]:
    """Of finalizers that are added to a custom resource; those of built-in kinds are checked strictly."""
    added = set(_finalizers(obj)) - set(() if old is None else _finalizers(old))
    return [
        f"metadata.finalizers: {go_quote(name)}: {text}" for name in sorted(added) for text in _concerns(name)
    ]


def _of_schemas(crd: Object) -> Iterator[str]:
    for version in crd["spec"].get("versions") or []:
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if isinstance(schema, dict):
            yield from _formats(schema)
            yield from _sets(schema)


def _formats(schema: Object) -> Iterator[str]:
    name = schema.get("format") or ""
    kind = schema.get("type") or ""
    if name and not is_checked_format(name, (kind,) if kind else ()):
        yield f"unrecognized format {go_quote(name)}"
    for child in _children(schema):
        yield from _formats(child)
    for key in ("allOf", "anyOf", "oneOf"):
        for branch in schema.get(key) or ():
            yield from _formats(branch)
    if isinstance(schema.get("not"), dict):
        yield from _formats(schema["not"])


def _sets(schema: Object) -> Iterator[str]:
    items = schema.get("items")
    if schema.get("x-kubernetes-list-type") == "set" and isinstance(items, dict):
        kind = items.get("type")
        if kind in ("array", "object"):
            yield (
                f'x-kubernetes-list-type: set for items of type "{kind}" is not supported by server-side apply '
                "or CEL validation rules"
            )
    for child in _children(schema):
        yield from _sets(child)


def _children(schema: Object) -> Iterator[Object]:
    yield from (schema.get("properties") or {}).values()
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]


def _finalizers(obj: Object) -> list[str]:
    return obj["metadata"].get("finalizers") or []


def _concerns(finalizer: str) -> Iterator[str]:
    yield from names.label_key(finalizer)
    if "/" in finalizer or finalizer in _STANDARD_FINALIZERS:
        return
    including = " including a path (/)" if "." in finalizer else ""
    yield f"prefer a domain-qualified finalizer name{including} {_WITHOUT_COLLISIONS}"
