"""Webhook configurations: the expressions of their matchConditions must compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.status import FieldError

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]


class WebhookConfigurationStrategy(Strategy):
    def validate(self, registry: Registry, call: Call, obj: Object, old: Object | None) -> list[FieldError]:
        conditions = _conditions(obj)
        if old is not None and conditions == _conditions(old):
            return []  # what was accepted once stays so
        # Imported here: most clusters never see one, and all start faster without CEL.
        from slipway.cluster.schema.cel.admission import match_condition_errors

        return [
            error
            for index, listed in enumerate(conditions)
            for error in match_condition_errors(listed, f"webhooks[{index}].matchConditions")
        ]


def _conditions(configuration: Object) -> list[list[Object]]:
    return [hook.get("matchConditions") or [] for hook in configuration.get("webhooks") or []]
