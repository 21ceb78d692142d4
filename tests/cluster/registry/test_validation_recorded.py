"""Validation of built-in kinds held to a real API server: about 9,600 objects, each wrong (or not) in one place.

`data/validation-1.37.json.gz`: for each of 39 kinds a valid object, and what kube-apiserver v1.37.0 said when one of
its fields was removed, emptied, made too long, out of range, of another spelling, or repeated; on create and update.
"""

from __future__ import annotations

import copy
import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.registry.validation import validate
from slipway.cluster.schema.decoding import decode
from slipway.cluster.schema.defaults import apply_builtin_defaults

DATA = Path(__file__).parent / "data" / "validation-1.37.json.gz"
REMOVED = "<del>"


@cache
def recorded() -> list[dict[str, Any]]:
    kinds: list[dict[str, Any]] = json.loads(gzip.decompress(DATA.read_bytes()))["kinds"]
    return kinds


def changed(obj: Any, path: list[Any], value: Any) -> Any:
    obj = copy.deepcopy(obj)
    holder = obj
    for step in path[:-1]:
        holder = holder[step]
    if value == REMOVED:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return obj


def comparable(cause: dict[str, str]) -> tuple[str, str, str]:
    """Reason, field and message. A value that is an object is not compared (upstream often prints its internal Go
    structs), nor is the difference that some immutability errors end with."""
    message = re.sub(
        r"^((?:Invalid|Unsupported) value: )(?:[\[{].*[\]}]|null)(?=: )", r"\1…", cause["message"]
    )
    return cause["reason"], cause["field"], message.split("\n")[0]


def outcome(row: dict[str, Any], case: dict[str, Any], operation: str) -> set[tuple[str, str, str]]:
    group, _, version = row["apiVersion"].rpartition("/")
    live = row["live"] if operation == "update" else None
    body = changed(live or row["base"], case["path"], case["value"])
    obj = decode(body, group, version, row["kind"]).obj
    apply_builtin_defaults(obj, group, version, row["kind"])
    if live is not None:
        obj["metadata"] = copy.deepcopy(live["metadata"])
        if "status" in live:
            obj["status"] = live["status"]
    elif row["namespaced"]:
        obj["metadata"].setdefault("namespace", "patinv")
    if row["kind"] == "Job" and live is None:  # the strategy makes the selector
        obj["spec"].setdefault("selector", {"matchLabels": {"x": "y"}})
        obj["spec"]["template"].setdefault("metadata", {}).setdefault("labels", {})["x"] = "y"
    resource = f"{row['plural']}.{group}" if group else row["plural"]
    errors = validate(group, row["kind"], resource, obj, live, namespaced=row["namespaced"])
    return {comparable(error.cause()) for error in errors}


def belongs_elsewhere(row: dict[str, Any], case: dict[str, Any], operation: str) -> bool:
    """Cases that a real server decides before or beside validation: in strategies, allocators and admission."""
    kind, path = row["kind"], [str(step) for step in case["path"]]
    dotted = ".".join(path)
    if kind == "Service":
        allocated = ("spec.clusterIP", "spec.ports", "spec.healthCheckNodePort", "spec.externalTrafficPolicy")
        return dotted in ("spec", "spec.type") or dotted.startswith(allocated)
    if kind == "Pod" and operation == "update":  # admission puts back what it added
        return dotted.startswith(
            ("spec.tolerations.1", "spec.tolerations.2", "spec.priority", "spec.preemptionPolicy")
        )
    if kind == "Job" and operation == "create":  # labels of the strategy are made of the name
        return dotted == "metadata.name"
    return kind == "LimitRange" and dotted.startswith("metadata")  # the strategy makes up a name


KNOWN_DIFFERENCES = {
    # A conversion or printing detail of Go that we do not follow; (kind, operation, path).
    ("Secret", "data..dockerconfigjson"): "the offending byte of invalid UTF-8 is shown by its code",
    ("VolumeAttachment", "spec.attacher"): "the name is checked in its original case and with other words",
    (
        "StatefulSet",
        "spec.volumeClaimTemplates.0.metadata",
    ): "the claim's name is not checked with its metadata",
    (
        "ValidatingWebhookConfiguration",
        "webhooks.0.clientConfig.service.path",
    ): "segments are counted otherwise",
    ("ReplicationController", "metadata.name"): "its length is counted in bytes, by declarative validation",
    (
        "PersistentVolume",
        "spec.nodeAffinity.required.nodeSelectorTerms.0.matchExpressions.0.key",
    ): "an empty key is taken for one of the old labels, which may be changed",
    ("HorizontalPodAutoscaler", "spec.behavior"): "an empty list is kept apart from none",
}


def is_known(row: dict[str, Any], case: dict[str, Any]) -> bool:
    dotted = ".".join(str(step) for step in case["path"])
    return any(row["kind"] == kind and dotted.startswith(path) for kind, path in KNOWN_DIFFERENCES)


@pytest.mark.parametrize("number", range(len(recorded())), ids=lambda n: f"{n}-{recorded()[n]['kind']}")
@pytest.mark.parametrize("operation", ["create", "update"])
def test_wrong_objects_are_refused_as_a_real_server_refuses_them(number: int, operation: str) -> None:
    row = recorded()[number]
    differing = []
    for case in row[operation]:
        if belongs_elsewhere(row, case, operation) or is_known(row, case):
            continue
        wanted = {comparable(cause) for cause in case.get("causes", ())}
        found = outcome(row, case, operation)
        if found != wanted:
            differing.append((case["path"], case["value"], "ours", found - wanted, "theirs", wanted - found))
    assert not differing, "\n".join(str(difference)[:600] for difference in differing[:8])
