"""Which fields differ between two states, in a fixed order.

Objects are compared key by key (sorted), lists position by position; where a value changes its kind (null to
object, list to string) the path itself has changed. Each difference is the smallest one: a field, not the
whole object around it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kco.spec.path import FieldPath, spell_path
from kco.state.value import MISSING, json_equal


@dataclass(frozen=True, slots=True)
class Change:
    """One field's old and new value; either may be MISSING."""

    path: FieldPath
    old: Any
    new: Any

    @property
    def field(self) -> str:
        return spell_path(self.path)


def diff(old: Any, new: Any) -> list[Change]:
    """All differences, in the order of their paths."""
    return list(_walk(old, new, ()))


def _walk(old: Any, new: Any, path: FieldPath) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _walk(old.get(key, MISSING), new.get(key, MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for position in range(max(len(old), len(new))):
            before = old[position] if position < len(old) else MISSING
            after = new[position] if position < len(new) else MISSING
            yield from _walk(before, after, (*path, position))
    elif not json_equal(old, new):
        yield Change(path, old, new)
