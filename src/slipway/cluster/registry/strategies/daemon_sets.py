"""DaemonSets: the generation of the template, an old field that lives on as an annotation.

Facts: k8s.io/kubernetes pkg/registry/apps/daemonset/strategy.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.schema.defaults_computed import TEMPLATE_GENERATION

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]


class DaemonSetStrategy(Strategy):
    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        _set(obj, 1)

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        text = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
        before = int(text) if text.isascii() and text.isdigit() else 0
        changed = obj["spec"].get("template") != old["spec"].get("template")
        _set(obj, before + 1 if changed else before)


def _set(obj: Object, generation: int) -> None:
    annotations = obj["metadata"].get("annotations") or {}
    obj["metadata"]["annotations"] = {**annotations, TEMPLATE_GENERATION: str(generation)}
