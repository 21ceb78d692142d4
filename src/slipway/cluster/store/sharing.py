"""Equal parts of stored values are kept once.

A cluster is full of repetition: a status update changes a tenth of an object, ten thousand pods come from one
template, and managedFields say the same of each of them. `Sharing.of` gives a value back with every part that
equals one kept already replaced by that one: the parts of the object's previous state first, then parts that were
seen twice of late; short strings at once. Sharing is safe because nobody changes a stored value in place.

Equal here means the same JSON text, so that 1, 1.0 and true stay apart and members keep their order.
"""

from __future__ import annotations

from typing import Any

import orjson

_PARTS = 4096  # kept parts, and hashes of texts that were seen once
_LONGEST = 4096  # bytes of a part's text: what is longer is hardly ever the same twice
_LONGEST_WORD = 64  # characters
_WORDS = 4  # words that are remembered for each part
_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS


class Sharing:
    """Remembers the newest few thousand parts that came at least twice."""

    def __init__(self, parts: int = _PARTS) -> None:
        self._limit = parts
        self._parts: dict[int, Any] = {}  # by the hash of their text
        # A part is kept only when it comes again: most come once, and would only push the others out.
        self._seen: dict[int, None] = {}
        self._words: dict[str, str] = {}

    def of(self, value: dict[str, Any], previous: dict[str, Any] | None) -> dict[str, Any]:
        """The value, made of shared parts where it can be; the value itself is not changed."""
        before = previous or {}
        return {name: self._part(part, before.get(name)) for name, part in value.items()}

    def _part(self, part: Any, before: Any) -> Any:
        if part is before:
            return part
        if isinstance(part, str):
            return before if part == before else self._word(part)
        if not isinstance(part, dict | list) or not part:
            return part
        text = _text(part)
        if text is None:
            return part
        if type(before) is type(part) and part == before and text == _text(before):
            return before
        if len(text) > _LONGEST:
            return self._taken_apart(part, before)
        mark = hash(text)
        kept = self._parts.get(mark)
        if kept is not None and kept == part and _text(kept) == text:
            return kept
        shared = self._taken_apart(part, before)
        self._note(mark, shared)
        return shared

    def _taken_apart(self, part: Any, before: Any) -> Any:
        if isinstance(part, dict):
            members = before if isinstance(before, dict) else {}
            return {name: self._part(item, members.get(name)) for name, item in part.items()}
        items = before if isinstance(before, list) else []
        return [
            self._part(item, items[index] if index < len(items) else None) for index, item in enumerate(part)
        ]

    def _word(self, word: str) -> str:
        """The first string equal to it: a decoded body makes every value anew."""
        if len(word) > _LONGEST_WORD:
            return word
        if len(self._words) >= self._limit * _WORDS:
            self._words.clear()
        return self._words.setdefault(word, word)

    def _note(self, mark: int, part: Any) -> None:
        if mark in self._seen:
            del self._seen[mark]
            _push(self._parts, mark, part, self._limit)
        else:
            _push(self._seen, mark, None, self._limit)


def _push(kept: dict[int, Any], mark: int, value: Any, limit: int) -> None:
    if len(kept) >= limit:
        del kept[next(iter(kept))]  # the oldest
    kept[mark] = value


def text_length(value: dict[str, Any]) -> int:
    """Bytes of the JSON text, about."""
    text = _text(value)
    return len(str(value)) if text is None else len(text)


def _text(part: Any) -> bytes | None:
    """The JSON text; None for what orjson does not take, such as integers of more than 64 bits."""
    try:
        return orjson.dumps(part, option=_OPTIONS)
    except TypeError:
        return None
