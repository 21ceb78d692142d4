"""Bytes of an answer to a state, with a defined result for everything a server may send.

| answer | result |
|---|---|
| `{"data": {...}}` | the state |
| `data` and `errors` | the state, with the errors told beside it |
| `errors` without `data`, or `data: null` | GraphqlErrors |
| not JSON, NaN or Infinity, not UTF-8, not an object, no `data` | NotJson, naming what it is |
| a key twice in one object | the last one counts |
| whole numbers of 64 bits | exact; beyond that a float |
| nested deeper than 64 | NotJson |
"""

from dataclasses import dataclass
from typing import Any

import orjson

MAX_DEPTH = 64


class Undecodable(Exception):
    """An answer that holds no state; `category` is a fixed word for metrics."""

    category = "decode"


class NotJson(Undecodable):
    """Not the JSON of a GraphQL answer."""

    category = "not_json"


class GraphqlErrors(Undecodable):
    """The server refused the query."""

    category = "graphql_errors"


@dataclass(frozen=True, slots=True)
class Decoded:
    """`data`, and the messages of errors that came with it."""

    state: dict[str, Any]
    errors: tuple[str, ...] = ()


def decode(body: bytes) -> Decoded:
    """The state in a GraphQL answer."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as failure:
        raise NotJson(f"answer is not JSON: {str(failure)[:100]}") from None
    except RecursionError:
        raise NotJson("answer is nested too deeply") from None
    if not isinstance(answer, dict):
        raise NotJson(f"answer is a JSON {_kind(answer)}, expected an object with data")
    errors = _messages(answer.get("errors"))
    data = answer.get("data")
    if data is None:
        if errors:
            raise GraphqlErrors("GraphQL errors: " + "; ".join(errors[:3]))
        raise NotJson("answer has no data and no errors, so it is not GraphQL")
    if not isinstance(data, dict):
        raise NotJson(f"data is a JSON {_kind(data)}, expected an object")
    if _deeper(data, MAX_DEPTH):
        raise NotJson(f"answer is nested deeper than {MAX_DEPTH} levels")
    return Decoded(data, errors)


def _messages(errors: Any) -> tuple[str, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(
        str(entry.get("message", "error without a message") if isinstance(entry, dict) else entry)[:200]
        for entry in errors[:10]
    )


def _deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {type(None): "null", list: "list", str: "string", dict: "object"}.get(type(value), "number")
