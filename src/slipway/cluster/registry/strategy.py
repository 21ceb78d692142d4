"""What is special about a kind when its objects are made, changed and deleted.

The request path calls these in the order in which they stand here. Most kinds need none of their own: the rows
of `kinds.json` say the rest. Strategies of kinds that have one are in `strategies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.status import FieldError

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]


class Strategy:
    """The default: nothing special. `registry` gives strategies the store, the clock and other kinds."""

    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        """Set what only the server sets; `obj` has its metadata and defaults already."""

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        """The same for a change of the main resource."""

    def validate(self, registry: Registry, call: Call, obj: Object, old: Object | None) -> list[FieldError]:
        """Checks beyond the schema's; `old` is None on create."""
        return []

    def changed_spec(self, obj: Object, old: Object) -> bool:
        """Whether `metadata.generation` must grow."""
        return obj.get("spec") != old.get("spec")

    def check_delete(self, registry: Registry, call: Call, obj: Object) -> None:
        """Raise to refuse a deletion."""

    def grace_period(self, registry: Registry, call: Call, obj: Object) -> int | None:
        """Seconds that the object lingers after DELETE, which is marked first even when they are 0; None: its kind
        knows no grace."""
        return None

    def holds(self, obj: Object) -> bool:
        """Whether something other than metadata.finalizers keeps a deleted object (Namespace finalizers)."""
        return False

    def begin_delete(self, registry: Registry, call: Call, obj: Object) -> None:
        """The object starts to linger: change it accordingly."""

    def after_create(self, registry: Registry, obj: Object) -> None:
        """The object is stored."""

    def after_update(self, registry: Registry, obj: Object, old: Object) -> None:
        """The change is stored."""

    def after_delete(self, registry: Registry, obj: Object) -> None:
        """The object is gone."""
