"""Secrets taken out of what is to be shown to others: the values of Secrets, wherever they stand."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]
LEAST = 8  # characters; what is shorter would stand in the midst of other words
MASK = "***"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Of a service account's token: neither is secret, and both stand everywhere.
_PUBLIC = {"namespace", "ca.crt"}


class Masks:
    """Made of all Secrets there are. Values of fewer than LEAST characters are masked only in their Secret."""

    def __init__(self, secrets: Iterable[Object]) -> None:
        words: set[str] = set()
        for secret in secrets:
            for key, text in (secret.get("data") or {}).items():
                if key not in _PUBLIC:
                    words |= _words(str(text))
        longest_first = sorted(words, key=lambda word: (-len(word), word))
        self._words = re.compile("|".join(map(re.escape, longest_first))) if words else None

    def text(self, text: str) -> str:
        return self._words.sub(MASK, text) if self._words is not None else text

    def object(self, obj: Object) -> Object:
        """A copy that shows of a Secret only which keys it has, and how long their values are."""
        if obj.get("kind") == "Secret" and obj.get("apiVersion") == "v1":
            obj = _without_values(obj)
        masked: Object = self._value(obj)
        return masked

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value


def _words(encoded: str) -> set[str]:
    """A value as it may stand elsewhere: in base64, in plain, and line by line."""
    found = {encoded}
    try:
        plain = base64.b64decode(encoded).decode()
    except ValueError:
        plain = ""
    found.update([plain.strip(), *(line.strip() for line in plain.splitlines())])
    return {word for word in found if len(word) >= LEAST}


def _without_values(secret: Object) -> Object:
    data = {key: f"{MASK} ({_length(str(text))} bytes)" for key, text in (secret.get("data") or {}).items()}
    metadata = dict(secret.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    if _LAST_APPLIED in annotations:
        metadata["annotations"] = {**annotations, _LAST_APPLIED: MASK}
    return {**secret, "metadata": metadata, **({"data": data} if data else {})}


def _length(encoded: str) -> int:
    try:
        return len(base64.b64decode(encoded))
    except ValueError:
        return len(encoded)
