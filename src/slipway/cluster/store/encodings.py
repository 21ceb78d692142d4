"""Encodings of states that are past: kept while watchers who are a little behind may ask for them, then forgotten.

Those of present states stay with their records. What is kept here is bounded by number and by bytes; a watcher who is
further behind has its encodings made anew, for itself alone.
"""

from __future__ import annotations

from collections import deque
from typing import Any

Encodings = dict[Any, bytes]

_MOST = 1000
_MOST_BYTES = 32 * 1024 * 1024
# States that were replaced a moment ago are weighed later: their encodings may be about to be made.
_UNWEIGHED = 32
_FORGOTTEN = object()


def keep(encodings: Encodings, version: Any, encoding: bytes) -> None:
    """Unless those of this state have been forgotten."""
    if _FORGOTTEN not in encodings:
        encodings[version] = encoding


class PastEncodings:
    """The newest ones of one bucket."""

    def __init__(self, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._unweighed: deque[Encodings] = deque()
        self._kept: deque[tuple[Encodings, int]] = deque()
        self._bytes = 0

    def replaced(self, encodings: Encodings) -> None:
        """The state that they are of is no longer the present one."""
        self._unweighed.append(encodings)
        if len(self._unweighed) <= _UNWEIGHED:
            return
        oldest = self._unweighed.popleft()
        weight = sum(map(len, oldest.values()))
        self._kept.append((oldest, weight))
        self._bytes += weight
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            forgotten, weight = self._kept.popleft()
            self._bytes -= weight
            forgotten.clear()
            forgotten[_FORGOTTEN] = b""
