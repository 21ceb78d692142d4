"""Values as JSON has them: missing is not null, 1 equals 1.0, 1 does not equal true."""

from typing import Any, Final

from kco.spec.path import WILDCARD, FieldPath


class Missing:
    """Nothing stands at this path."""

    _only: "Missing | None" = None

    def __new__(cls) -> "Missing":
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


def is_number(value: Any) -> bool:
    """A JSON number: booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def json_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return type(left) is type(right) and bool(left == right)


def values_at(state: Any, path: FieldPath) -> list[Any]:
    """What stands at a path: one value (perhaps MISSING), or one per element where the path has a `*`."""
    found = [state]
    for step in path:
        following: list[Any] = []
        for value in found:
            if step == WILDCARD:
                if isinstance(value, list):
                    following += value
                elif isinstance(value, dict):
                    following += value.values()
            else:
                following.append(_child(value, step))
        found = following
    return found


def _child(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(str(step), MISSING)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return MISSING


def show(value: Any, limit: int = 80) -> str:
    """A value for a sentence: strings bare, the rest as JSON, long ones cut."""
    import orjson

    if value is MISSING:
        return "missing"
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
