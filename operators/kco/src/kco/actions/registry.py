"""Finds action handlers: entry points of the group `kco.actions`, then decorated classes.

A plugin that cannot be loaded is named in `failures` and stops nothing else.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any
from weakref import WeakValueDictionary

from kco.actions.handler import ActionHandler, registered
from kco.spec.document import suggestion
from kco.spec.rule import Action

GROUP = "kco.actions"
log = logging.getLogger(__name__)


class UnknownAction(Exception):
    """No handler of this name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"unknown action {name[:60]!r}{suggestion(name, known)}")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class PreparedAction:
    """A rule's action with its handler and checked parameters."""

    rule: Action
    handler: ActionHandler
    parameters: Any


class ActionRegistry:
    """Handlers by name, loaded when first asked for."""

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        points = entry_points(group=GROUP) if found is None else found
        self._points = {point.name: point for point in points}
        self._handlers: dict[str, ActionHandler] = {}
        self.failures: dict[str, str] = {}
        # By the rule's id, which is its own as long as the entry lives: the entry holds the rule.
        self._prepared: WeakValueDictionary[int, PreparedAction] = WeakValueDictionary()

    def prepare(self, rule: Action) -> PreparedAction:
        """Handler and checked parameters of a rule, once for all that share the rule; `UnknownAction`,
        `InvalidParameters`."""
        prepared = self._prepared.get(id(rule))
        if prepared is None:
            handler = self.handler(rule.action)
            prepared = PreparedAction(rule, handler, handler.read(rule.parameters))
            self._prepared[id(rule)] = prepared
        return prepared

    def names(self) -> list[str]:
        return sorted({*self._points, *registered(), *self._handlers})

    def handler(self, name: str) -> ActionHandler:
        """The handler of an action; `UnknownAction` where there is none or its plugin is broken."""
        if name in self._handlers:
            return self._handlers[name]
        decorated = registered().get(name)
        if decorated is not None:
            self._handlers[name] = decorated()
            return self._handlers[name]
        point = self._points.get(name)
        if point is None:
            raise UnknownAction(name, self.names())
        try:
            loaded = point.load()
            handler: ActionHandler = loaded() if isinstance(loaded, type) else loaded
            if not isinstance(handler, ActionHandler):
                raise TypeError(f"{point.value} is not an ActionHandler")
            if not getattr(handler, "name", ""):
                type(handler).name = name
        except Exception as failure:
            # Whatever a plugin's import raises belongs to the TargetApps that use it, not to the operator.
            self.failures[name] = f"{type(failure).__name__}: {failure}"
            log.error(
                "action plugin cannot be loaded", extra={"fields": {"plugin": name, "error": str(failure)}}
            )
            self._points.pop(name)
            raise UnknownAction(f"{name} (its plugin failed: {failure})", self.names()) from None
        self._handlers[name] = handler
        return handler
