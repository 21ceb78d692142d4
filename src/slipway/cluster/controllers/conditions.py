"""Conditions of a status: set one so that its times say what they should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Conditions = list[dict[str, Any]]


def condition(
    type: str, status: str, reason: str, message: str, timestamp: str, *, updated: bool = False
) -> dict[str, Any]:
    """A condition that changed now; `updated` adds the lastUpdateTime that apps/v1 Deployments have."""
    made = {"type": type, "status": status}
    if updated:
        made["lastUpdateTime"] = timestamp
    return made | {"lastTransitionTime": timestamp, "reason": reason, "message": message}


def find(conditions: Iterable[Mapping[str, Any]], type: str) -> dict[str, Any] | None:
    return next((dict(item) for item in conditions if item["type"] == type), None)


def without(conditions: Iterable[Mapping[str, Any]], type: str) -> Conditions:
    return [dict(item) for item in conditions if item["type"] != type]


def put_last(conditions: Conditions, new: dict[str, Any]) -> Conditions:
    """As apps controllers do: unchanged if status and reason are; else replaced at the end of the list."""
    known = find(conditions, new["type"])
    if known and known["status"] == new["status"] and known.get("reason") == new.get("reason"):
        return conditions
    if known and known["status"] == new["status"]:
        new = {**new, "lastTransitionTime": known.get("lastTransitionTime", new["lastTransitionTime"])}
    return [*without(conditions, new["type"]), new]


def put_in_place(conditions: Conditions, new: dict[str, Any]) -> Conditions:
    """As meta.SetStatusCondition does: in place; the transition time changes with the status only."""
    known = find(conditions, new["type"])
    if known is None:
        return [*conditions, new]
    if known["status"] == new["status"]:
        new = {**new, "lastTransitionTime": known.get("lastTransitionTime", new["lastTransitionTime"])}
    return [new if item["type"] == new["type"] else item for item in conditions]
