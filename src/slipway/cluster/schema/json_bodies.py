"""JSON bodies: parsed so that members that come twice are noticed, and refused in the words of Go's scanner."""

from __future__ import annotations

import json
import re
from typing import Any

JsonObject = dict[str, Any]


# How deep arrays and objects may be nested. Upstream takes 10,000; here values are walked by functions that call
# themselves, and an object must still be writable (orjson: 254) when managedFields, a list and a review are around it.
MAX_DEPTH = 200


class RepeatedMembers(dict[str, Any]):
    """An object in which members came more than once, of which the last counts; `pairs` has all of them."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


class BadJson(ValueError):
    """No JSON; the text is that of Go's encoding/json."""


def parse_json(body: bytes) -> Any:
    """The value; objects with repeated members are `RepeatedMembers`. BadJson if it cannot be read."""
    if wrong := _depth_error(body):
        raise BadJson(wrong)
    try:
        # Bytes and escapes that are no text are replaced, as Go does it.
        text = _ESCAPES.sub(_no_lone_surrogate, body.decode("utf-8", "replace"))
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except ValueError:
        raise BadJson(syntax_error(body) or "invalid JSON") from None


_NO_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\[\]{}"]+', re.DOTALL)


def _depth_error(body: bytes) -> str:
    """What is wrong if brackets are nested too deep; asked before anything follows them down."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return ""
    depth = 0
    for bracket in _NO_BRACKETS.sub(b"", body).decode("ascii"):
        if bracket in "}]":
            depth -= 1
        elif bracket in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                return f"invalid character '{bracket}' exceeded max depth"
    return ""


def too_deep(value: Any) -> bool:
    """Whether a value that was put together here is nested deeper than one that is read may be."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for part in level
            if isinstance(part, dict | list)
            for item in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return False
    return True


_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def _no_lone_surrogate(found: re.Match[str]) -> str:
    return "\\ufffd" if found["lone"] else found[0]


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedMembers(pairs)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def repeated_members(value: Any, place: str = "") -> list[str]:
    """What strict decoding says of members that came twice, of whatever has no fields to be checked."""
    found: list[str] = []
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += repeated_members(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        seen: set[str] = set()
        for name, item in value.pairs if isinstance(value, RepeatedMembers) else value.items():
            below = f"{place}.{name}" if place else name
            if name in seen:
                found.append(f'duplicate field "{below}"')
            seen.add(name)
            found += repeated_members(item, below)
    return found


def summary(body: bytes) -> str:
    """How the server quotes a body that it does not understand: its first 30 bytes, in hexadecimal if no object."""
    if not body:
        return "<empty>"
    start = body[:30].decode("utf-8", "replace") if body[:1] == b"{" else body[:30].hex()
    return f"{start} ..." if len(body) > 30 else start


# The scanner

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_END = "unexpected end of JSON input"


class _Fault(Exception):
    pass


def syntax_error(body: bytes) -> str:
    """What Go's scanner says of the first thing that is wrong; empty if nothing is."""
    if wrong := _depth_error(body):
        return wrong
    text = body.decode("utf-8", "replace")
    try:
        end = _skip(text, _value(text, 0))
    except _Fault as fault:
        return str(fault)
    return f"invalid character {_quoted(text[end])} after top-level value" if end < len(text) else ""


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _fault(text: str, at: int, where: str) -> _Fault:
    if at >= len(text):
        return _Fault(_END)
    return _Fault(f"invalid character {_quoted(text[at])} {where}")


def _quoted(character: str) -> str:
    if character == "'":
        return r"'\''"
    if character == '"':
        return "'\"'"
    if not character.isascii():  # Go shows the first of its bytes
        character = chr(character.encode("utf-8", "replace")[0])
    shown = json.dumps(character, ensure_ascii=False)[1:-1]
    return f"'{shown}'"


def _value(text: str, at: int) -> int:
    at = _skip(text, at)
    start = text[at : at + 1]
    if start == "{":
        return _members(text, at + 1)
    if start == "[":
        return _items(text, at + 1)
    if start == '"':
        return _string(text, at)
    if start in ("t", "f", "n") and start:
        return _literal(text, at, {"t": "true", "f": "false", "n": "null"}[start])
    if start == "-" or start.isdigit():
        return _number(text, at)
    raise _fault(text, at, "looking for beginning of value")


def _literal(text: str, at: int, word: str) -> int:
    for offset, wanted in enumerate(word):
        if text[at + offset : at + offset + 1] != wanted:
            raise _fault(text, at + offset, f"in literal {word} (expecting '{wanted}')")
    return at + len(word)


def _number(text: str, at: int) -> int:
    found = _NUMBER.match(text, at)
    end = found.end() if found else at + 1
    rest = text[end : end + 1]
    if found is None:
        raise _fault(text, end, "in numeric literal")
    if rest == ".":
        raise _fault(text, end + 1, "after decimal point in numeric literal")
    if rest in ("e", "E") and rest:
        signed = text[end + 1 : end + 2] in ("+", "-")
        raise _fault(text, end + (2 if signed else 1), "in exponent of numeric literal")
    return end


def _string(text: str, at: int) -> int:
    found = _STRING.match(text, at)
    if found:
        return found.end()
    at += 1
    while at < len(text):
        character = text[at]
        if character == "\\":
            following = text[at + 1 : at + 2]
            if following == "u":
                for offset in range(2, 6):
                    if not re.fullmatch("[0-9a-fA-F]", text[at + offset : at + offset + 1]):
                        raise _fault(text, at + offset, r"in \u hexadecimal character escape")
                at += 6
                continue
            if following not in tuple('"\\/bfnrt'):
                raise _fault(text, at + 1, "in string escape code")
            at += 2
            continue
        if character < " ":
            raise _fault(text, at, "in string literal")
        at += 1
    raise _Fault(_END)


def _members(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        at = _skip(text, at)
        if text[at : at + 1] != '"':
            raise _fault(text, at, "looking for beginning of object key string")
        at = _skip(text, _string(text, at))
        if text[at : at + 1] != ":":
            raise _fault(text, at, "after object key")
        at = _skip(text, _value(text, at + 1))
        if text[at : at + 1] == "}":
            return at + 1
        if text[at : at + 1] != ",":
            raise _fault(text, at, "after object key:value pair")
        at += 1


def _items(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        at = _skip(text, _value(text, at))
        if text[at : at + 1] == "]":
            return at + 1
        if text[at : at + 1] != ",":
            raise _fault(text, at, "after array element")
        at += 1
