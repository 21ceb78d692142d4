"""Events of the core group and of events.k8s.io: the same objects under other names of some fields.

Facts: k8s.io/kubernetes 1.37 pkg/apis/events/v1/conversion.go. They are stored as core/v1.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
# Of events.k8s.io/v1, in core/v1.
_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_CORE_NAMES = {core: name for name, core in _NAMES.items()}


_ALWAYS = ("reportingComponent", "reportingInstance")  # core/v1 says them even when they are empty


def to_core(obj: Object) -> Object:
    renamed = {_NAMES.get(name, name): value for name, value in obj.items()}
    return {**dict.fromkeys(_ALWAYS, ""), **renamed, "apiVersion": "v1"}


def from_core(obj: Object) -> Object:
    renamed = {
        _CORE_NAMES.get(name, name): value
        for name, value in obj.items()
        if value != "" or name not in _ALWAYS
    }
    return {**renamed, "apiVersion": "events.k8s.io/v1"}
