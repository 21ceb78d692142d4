"""Merge patches and transformation functions, on kinds with and without a status sub-resource."""

import functools
from typing import Any

import kopf
from journal import note

FINALIZER = "conformance.example.com/cleanup"


def set_label(body: dict[str, Any], /, name: str, value: str) -> None:
    body.setdefault("metadata", {}).setdefault("labels", {})[name] = value


def append_item(body: dict[str, Any], /) -> None:
    items = body.setdefault("spec", {}).setdefault("items", [])
    if "appended" not in items:
        items.append("appended")


def add_finalizer(body: dict[str, Any], /) -> None:
    finalizers = body["metadata"].setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)


def remove_finalizer(body: dict[str, Any], /) -> None:
    if FINALIZER in body["metadata"].get("finalizers", []):
        body["metadata"]["finalizers"].remove(FINALIZER)


def set_condition(body: dict[str, Any], /) -> None:
    conditions = body.setdefault("status", {}).setdefault("conditions", [])
    if not any(one["type"] == "Ready" for one in conditions):
        conditions.append({"type": "Ready", "status": "True"})


@kopf.on.create("samples")
@kopf.on.create("plainsamples")
def merge(patch: kopf.Patch, **_: Any) -> None:
    patch.spec["greeting"] = "hello"
    patch.spec["obsolete"] = None
    patch.metadata.labels["merged"] = "yes"
    patch.metadata.annotations["merged"] = "yes"
    patch.status["phase"] = "Made"
    patch.status["nested"] = {"deep": {"er": 1}}


@kopf.on.create("samples")
@kopf.on.create("plainsamples")
def transform(patch: kopf.Patch, **_: Any) -> None:
    patch.fns.append(functools.partial(set_label, name="set", value="yes"))
    patch.fns.append(append_item)
    patch.fns.append(add_finalizer)
    patch.fns.append(set_condition)


@kopf.on.delete("samples")
@kopf.on.delete("plainsamples")
def release(patch: kopf.Patch, body: kopf.Body, **_: Any) -> None:
    note("released", finalizers=body.metadata.get("finalizers"))
    patch.fns.append(remove_finalizer)


@kopf.on.create("strictsamples")
def strict(patch: kopf.Patch, spec: kopf.Spec, retry: int, **_: Any) -> None:
    patch.status["size"] = spec["size"]
    patch.status["unknown"] = "pruned"
    if retry < 1:
        raise kopf.TemporaryError("progress has to survive the pruning", delay=0.1)


@kopf.timer("samples", interval=0.2, labels={"count": "yes"})
def count(patch: kopf.Patch, spec: kopf.Spec, **_: Any) -> None:
    patch.spec["counted"] = min(spec.get("counted", 0) + 1, 3)
