"""A TargetApp's `spec` from what its author wrote, or everything that is wrong with it, for people.

`read(spec)` gives a `TargetAppSpec` or raises `InvalidSpec`, whose problems each name the field, the value
and what is allowed.
"""

from typing import Any

from pydantic import ValidationError

from kco.spec.part import lean
from kco.spec.targetapp import MAX_ACTIONS, TargetAppSpec


class InvalidSpec(Exception):
    """A TargetApp that cannot be used; `problems` are for people, one per line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            "; ".join(problems[:5]) + (f" (and {len(problems) - 5} more)" if len(problems) > 5 else "")
        )
        self.problems = problems


def read(spec: Any) -> TargetAppSpec:
    """Check the fields of one TargetApp's `spec`."""
    if not isinstance(spec, dict):
        raise InvalidSpec([f"spec: must be an object, not {_kind(spec)}"])
    given = spec.get("actions")
    if isinstance(given, list) and len(given) > MAX_ACTIONS:
        raise InvalidSpec([f"spec.actions: {len(given)} actions; at most {MAX_ACTIONS} are allowed"])
    try:
        return lean(TargetAppSpec.model_validate(_without_nulls(spec)))
    except ValidationError as failure:
        raise InvalidSpec([_problem(error) for error in failure.errors()]) from None
    except RecursionError:
        raise InvalidSpec(["spec: nested too deeply"]) from None


def _without_nulls(value: Any, key: str = "") -> Any:
    """Absent and null are the same to Kubernetes, except below `value`, `parameters` and `variables`."""
    if key in ("value", "parameters", "variables"):
        return value
    if isinstance(value, dict):
        kept = {name: _without_nulls(item, name) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item is not None or name == "value"}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _problem(error: Any) -> str:
    place = "spec"
    for step in error["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown field"
    elif error["type"] == "missing":
        message = "is needed and missing"
    elif error["type"] != "value_error" and not isinstance(error.get("input"), dict | list):
        message += f" (got {str(error.get('input'))[:60]!r})"
    return f"{place}: {message}"


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", list: "list", dict: "object", str: "string"}
    return names.get(type(value), "number")
