"""CEL's string extensions (version 2) and Kubernetes' regex functions. Offsets count characters."""

from __future__ import annotations

import math
import re
from typing import Any

from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.standard import to_string
from slipway.cluster.schema.cel.values import Duration, Timestamp, TypeValue, Uint, type_name
from slipway.cluster.schema.regexp import InvalidPattern, Pattern, compile_pattern

STRINGS = Functions()
overload = STRINGS.overload
_MOST_PRECISION = 1000


def _traverse(text: Any, *_: Any) -> float:
    return len(text) / 10


@overload("string.charAt(int) string")
def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise EvaluationError(f"index out of range: {at}")
    return text[at : at + 1]


@overload("string.indexOf(string) int", "string.indexOf(string, int) int", cost=_traverse)
def _index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


@overload("string.lastIndexOf(string) int", "string.lastIndexOf(string, int) int", cost=_traverse)
def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


@overload("list(string).join() string", "list(string).join(string) string", cost=lambda items, *_: len(items))
def _join(items: list[Any], separator: str = "") -> str:
    for item in items:
        if not isinstance(item, str):
            raise EvaluationError(f"join: invalid input: {item}")
    return separator.join(items)


@overload("string.lowerAscii() string", cost=_traverse)
def _lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


@overload("string.upperAscii() string", cost=_traverse)
def _upper(text: str) -> str:
    return "".join(char.upper() if char.isascii() else char for char in text)


@overload(
    "string.replace(string, string) string",
    "string.replace(string, string, int) string",
    cost=lambda text, *_: len(text) / 5,  # read, and written
)
def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count) if count else text


@overload("string.split(string) list(string)", "string.split(string, int) list(string)", cost=_traverse)
def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not separator:
        chars = list(text)
        return (
            chars if count < 0 or count >= len(chars) else [*chars[: count - 1], "".join(chars[count - 1 :])]
        )
    return text.split(separator, count - 1 if count > 0 else -1)


@overload("string.substring(int) string", "string.substring(int, int) string", cost=_traverse)
def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is not None and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if end is not None and not 0 <= end <= len(text):
        raise EvaluationError(f"index out of range: {end}")
    return text[start:end]


# Unicode's White_Space, which Go trims; Python's strip() takes a few separators more.
_SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)


@overload("string.trim() string", cost=_traverse)
def _trim(text: str) -> str:
    return text.strip(_SPACES)


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


@overload("::strings.quote(string) string", cost=_traverse)
def _quote(text: str) -> str:
    return quoted(text)


def quoted(text: str) -> str:
    """The text as a CEL literal."""
    escaped = "".join(_QUOTED.get(char, "\\" + char if char in '"\\' else char) for char in text)
    return f'"{escaped}"'


@overload("string.format(list(dyn)) string", cost=_traverse)
def _format(text: str, args: list[Any]) -> str:
    return "".join(_formatted(text, args))


_CLAUSE = re.compile(r"%(?:%|(?:\.([0-9]+))?(.?))", re.DOTALL)


def _formatted(text: str, args: list[Any]) -> list[str]:
    parts: list[str] = []
    last = used = 0
    for found in _CLAUSE.finditer(text):
        parts.append(text[last : found.start()])
        last = found.end()
        if found[0] == "%%":
            parts.append("%")
            continue
        if not found[2]:
            raise EvaluationError("unexpected end of string")
        if used >= len(args):
            raise EvaluationError(f"index {used} out of range")
        precision = int(found[1]) if found[1] is not None else None
        if precision is not None and precision > _MOST_PRECISION:
            raise EvaluationError(
                f"precision {precision} exceeds maximum allowed precision {_MOST_PRECISION}"
            )
        parts.append(_clause(found[2], precision, args[used]))
        used += 1
    parts.append(text[last:])
    return parts


def _clause(letter: str, precision: int | None, value: Any) -> str:
    if letter == "s":
        return show(value)
    if letter == "d":
        if isinstance(value, float) and not math.isfinite(value):
            return _special(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(int(value))
        raise _wrong("decimal", "integers", value)
    if letter in "fe":
        if not isinstance(value, float):
            raise _wrong("fixed-point" if letter == "f" else "scientific", "doubles", value)
        number = float(value)
        if not math.isfinite(number):
            return _special(number)
        return _fixed(number, 6 if precision is None else precision) if letter == "f" else _scientific(number)
    if letter == "b":
        if isinstance(value, bool):
            return "1" if value else "0"
        if isinstance(value, int):
            return f"{int(value):b}"
        raise _wrong("binary", "integers and bools", value)
    if letter in "xX":
        return _hex(value, upper=letter == "X")
    if letter == "o":
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{int(value):o}"
        raise _wrong("octal", "integers", value)
    raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{letter}"')


def _fixed(number: float, precision: int) -> str:
    return f"{number:,.{precision}f}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _scientific(number: float) -> str:
    """`1.234500×10⁰³`, as upstream's English locale has it; it takes no notice of a precision."""
    mantissa, _, exponent = f"{number:.6e}".partition("e")
    return f"{mantissa}×10{exponent.removeprefix('+').translate(_RAISED)}"


def _wrong(clause: str, takes: str, value: Any) -> EvaluationError:
    name = type_name(value)
    return EvaluationError(
        f"error during formatting: {clause} clause can only be used on {takes}, was given {name}"
    )


def _hex(value: Any, upper: bool) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        text = f"{int(value):x}"
    elif isinstance(value, str | bytes):
        text = (value.encode() if isinstance(value, str) else value).hex()
    else:
        raise _wrong("hex", "integers, byte buffers, and strings", value)
    return text.upper() if upper else text


def _special(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def show(value: Any) -> str:
    """What `%s` prints for any value."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(_inner, value))}]"
    if isinstance(value, dict):
        entries = sorted((show(key), _inner(key), _inner(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}:{item}" for _, key, item in entries) + "}"
    if isinstance(value, float):
        return to_string(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, TypeValue):
        return value.name
    if isinstance(value, bool | int | Uint | Duration | Timestamp):
        return to_string(value)
    raise EvaluationError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, "
        f"lists, types, durations, and timestamps, was given {type_name(value)}"
    )


def _inner(value: Any) -> str:
    """Inside lists and maps texts are quoted, times are calls."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return f"b{quoted(value.decode(errors='replace'))}"
    if isinstance(value, Duration | Timestamp):
        return f'{"duration" if isinstance(value, Duration) else "timestamp"}("{value}")'
    if isinstance(value, float):
        return f"{value:.6f}" if math.isfinite(value) else _special(value)
    return show(value)


def _pattern(text: str) -> Pattern:
    try:
        return compile_pattern(text)
    except InvalidPattern as error:
        raise EvaluationError(f"Illegal regex: {error}") from None


def _regex_cost(text: str, pattern: str, *_: Any) -> float:
    return (len(text) + 1) / 10 * max(len(pattern) / 4, 1)


@overload("string.find(string) string", cost=_regex_cost)
def _find(text: str, pattern: str) -> str:
    found = _pattern(pattern).find(text)
    return text[found[0] : found[1]] if found else ""


@overload("string.findAll(string) list(string)", "string.findAll(string, int) list(string)", cost=_regex_cost)
def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    return [text[begin:end] for begin, end in _pattern(pattern).find_all(text, limit)]
