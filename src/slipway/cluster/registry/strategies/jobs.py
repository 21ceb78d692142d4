"""Jobs: the selector and labels by which a Job's pods are known, made from its uid.

Facts: k8s.io/kubernetes pkg/registry/batch/job/strategy.go (generateSelector), pkg/apis/batch/v1/defaults.go (labels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
_UID = "batch.kubernetes.io/controller-uid"
_NAME = "batch.kubernetes.io/job-name"


class JobStrategy(Strategy):
    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        spec, metadata = obj["spec"], obj["metadata"]
        template = spec.setdefault("template", {})
        if not spec.get("manualSelector"):
            labels = template.setdefault("metadata", {}).setdefault("labels", {})
            for key in ("controller-uid", _UID):
                labels.setdefault(key, metadata["uid"])
            for key in ("job-name", _NAME):
                labels.setdefault(key, metadata.get("name", ""))  # without one, validation refuses it
            selector = spec.setdefault("selector", {})
            selector.setdefault("matchLabels", {}).setdefault(_UID, metadata["uid"])
        given = (template.get("metadata") or {}).get("labels")
        if given and not metadata.get("labels"):
            metadata["labels"] = dict(given)
