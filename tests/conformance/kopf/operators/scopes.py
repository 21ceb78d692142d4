"""Watches one kind, wherever its command line tells it to."""

from typing import Any

import kopf
from journal import note


@kopf.on.create("conformance.example.com", "samples")
@kopf.on.create("conformance.example.com", "latecomers")
def created(name: str, namespace: str, resource: kopf.Resource, **_: Any) -> None:
    note("created", name=name, namespace=namespace, plural=resource.plural)


@kopf.on.delete("conformance.example.com", "latecomers")
def deleted(name: str, **_: Any) -> None:
    note("deleted", name=name)


@kopf.on.create("namespaces", annotations={"seen": "please"})
def namespace_created(name: str, **_: Any) -> None:
    note("namespace", name=name)
