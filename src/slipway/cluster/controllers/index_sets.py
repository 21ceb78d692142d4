"""Sets of completion indexes as Jobs write them: `0-2,5,7-9`."""

from __future__ import annotations

from collections.abc import Iterable


def parse(text: str) -> set[int]:
    """The numbers; ValueError if it is not such a text."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def to_text(numbers: Iterable[int]) -> str:
    """Ascending, runs joined by a dash (two neighbours too, as upstream does)."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
