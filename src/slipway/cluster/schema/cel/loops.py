"""CEL's macros as loops over a frame: each round puts the item in its slot and runs the body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Any

from slipway.cluster.schema.cel.problems import CostExceeded, EvaluationError
from slipway.cluster.schema.cel.syntax import MacroName
from slipway.cluster.schema.cel.values import NONE, Optional, has_key, order_key, type_name

Frame = list[Any]
Run = Callable[[Frame], Any]
Rounds = Callable[[Frame], Iterator[Any]]

_COST, _LIMIT = 0, 1


def compile_macro(
    name: MacroName, source: Run, slots: tuple[int, ...], bodies: list[Run], round_cost: int
) -> Run:
    """The closure for one macro."""
    if name in ("optMap", "optFlatMap"):
        return _optional(source, slots[0], bodies[0], flat=name == "optFlatMap")
    rounds = _rounds(source, slots, round_cost)
    if name == "all":
        return _quantifier(rounds, bodies[0], decisive=False)
    if name == "exists":
        return _quantifier(rounds, bodies[0], decisive=True)
    if name == "existsOne":
        return lambda frame: sum(_truth(bodies[0](frame)) for _ in rounds(frame)) == 1
    if name == "filter":
        return lambda frame: [item for item in rounds(frame) if _truth(bodies[0](frame))]
    condition = bodies[0] if len(bodies) == 2 else None
    body = bodies[-1]
    if name in ("map", "transformList"):
        if condition is None:
            return lambda frame: [body(frame) for _ in rounds(frame)]
        return lambda frame: [body(frame) for _ in rounds(frame) if _truth(condition(frame))]
    if name == "transformMap":
        return _transform_map(rounds, slots[0], condition, body)
    if name == "transformMapEntry":
        return _transform_entries(rounds, condition, body)
    return lambda frame: _sorted([(body(frame), item) for item in rounds(frame)])


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError("no such overload")


def _rounds(source: Run, slots: tuple[int, ...], round_cost: int) -> Rounds:
    """Goes through a list or map, charging each round; yields the item (or key) just put in place."""
    first = slots[0]
    second = slots[1] if len(slots) == 2 else None

    def rounds(frame: Frame) -> Iterator[Any]:
        values = source(frame)
        if not isinstance(values, list | dict):
            raise EvaluationError("no such overload")
        is_map = isinstance(values, dict)
        for position, item in enumerate(values):
            frame[_COST] += round_cost
            if frame[_COST] > frame[_LIMIT]:
                raise CostExceeded
            if second is None:
                frame[first] = item
            else:
                frame[first] = item if is_map else position
                frame[second] = values[item] if is_map else item
            yield item

    return rounds


def _quantifier(rounds: Rounds, body: Run, decisive: bool) -> Run:
    """all (false decides) and exists (true decides): a decision outweighs errors of other rounds."""

    other = not decisive

    def run(frame: Frame) -> Any:
        failure: EvaluationError | None = None
        for _ in rounds(frame):
            try:
                value = body(frame)
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decisive:
                return decisive
            if value is not other:
                failure = failure or EvaluationError("no such overload")
        if failure is not None:
            raise failure
        return other

    return run


def _transform_map(rounds: Rounds, key_slot: int, condition: Run | None, body: Run) -> Run:
    def run(frame: Frame) -> dict[Any, Any]:
        result = {}
        for _ in rounds(frame):
            if condition is None or _truth(condition(frame)):
                result[frame[key_slot]] = body(frame)
        return result

    return run


def _transform_entries(rounds: Rounds, condition: Run | None, body: Run) -> Run:
    def run(frame: Frame) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for _ in rounds(frame):
            if condition is None or _truth(condition(frame)):
                for key, value in body(frame).items():
                    if has_key(result, key):
                        raise EvaluationError(f"insert failed: key {key} already exists")
                    result[key] = value
        return result

    return run


def _optional(source: Run, slot: int, body: Run, flat: bool) -> Run:
    def run(frame: Frame) -> Any:
        value = source(frame)
        if not isinstance(value, Optional):
            raise EvaluationError("no such overload")
        if not value.present:
            return NONE
        frame[slot] = value.value
        result = body(frame)
        return result if flat else Optional(True, result)

    return run


def sort(values: list[Any]) -> list[Any]:
    """A list of one orderable type, sorted."""
    return _sorted([(value, value) for value in values])


def _sorted(keyed: list[tuple[Any, Any]]) -> list[Any]:
    if len({type_name(key) for key, _ in keyed}) > 1:
        raise EvaluationError("list elements must have the same type")

    def compare(a: tuple[Any, Any], b: tuple[Any, Any]) -> int:
        left, right = order_key(a[0]), order_key(b[0])
        try:
            return -1 if left < right else int(right < left)
        except TypeError:
            raise EvaluationError("list elements must be comparable") from None

    return [value for _, value in sorted(keyed, key=cmp_to_key(compare))]
