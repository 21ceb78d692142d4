"""Functions on lists and sets: Kubernetes' lists library, cel-go's list extensions (version 3), and sets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.loops import sort
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.values import Duration, checked_int, checked_uint, equal, order_key

COLLECTIONS = Functions()
overload = COLLECTIONS.overload
_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_MOST_RANGE = 1_000_000


def _traverse(items: Any, *_: Any) -> float:
    return len(items)


def _product(a: Any, b: Any) -> float:
    return len(a) * len(b)


@overload(*(f"list({kind}).isSorted() bool" for kind in _COMPARABLE), cost=_traverse)
def _is_sorted(items: list[Any]) -> bool:
    keys = [order_key(item) for item in items]
    return all(a <= b for a, b in pairwise(keys))


@overload("list(int).sum() int", cost=_traverse)
def _sum_int(items: list[int]) -> int:
    total = 0
    for item in items:
        total = checked_int(total + item)
    return total


@overload("list(uint).sum() uint", cost=_traverse)
def _sum_uint(items: list[int]) -> int:
    return checked_uint(sum(items))


@overload("list(double).sum() double", cost=_traverse)
def _sum_double(items: list[float]) -> float:
    return float(sum(items))


@overload("list(duration).sum() duration", cost=_traverse)
def _sum_duration(items: list[Duration]) -> Duration:
    return Duration(sum(item.nanos for item in items))


@overload(*(f"list({kind}).min() {kind}" for kind in _COMPARABLE), cost=_traverse)
def _min(items: list[Any]) -> Any:
    if not items:
        raise EvaluationError("min called on empty list")
    return min(items, key=order_key)


@overload(*(f"list({kind}).max() {kind}" for kind in _COMPARABLE), cost=_traverse)
def _max(items: list[Any]) -> Any:
    if not items:
        raise EvaluationError("max called on empty list")
    return max(items, key=order_key)


@overload("list(A).indexOf(A) int", cost=_traverse)
def _index_of(items: list[Any], wanted: Any) -> int:
    return next((index for index, item in enumerate(items) if equal(item, wanted)), -1)


@overload("list(A).lastIndexOf(A) int", cost=_traverse)
def _last_index_of(items: list[Any], wanted: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if equal(items[index], wanted)), -1)


@overload("list(A).slice(int, int) list(A)", cost=_traverse)
def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(
            f"cannot slice({start}, {end}), start index must be less than or equal to end index"
        )
    if end > len(items):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


@overload("list(list(A)).flatten() list(A)", "list(dyn).flatten() list(dyn)", cost=_traverse)
def _flatten(items: list[Any]) -> list[Any]:
    return _flat(items, 1)


@overload("list(dyn).flatten(int) list(dyn)", cost=_traverse)
def _flatten_levels(items: list[Any], levels: int) -> list[Any]:
    if levels < 0:
        raise EvaluationError("level must be non-negative")
    return _flat(items, levels)


def _flat(items: list[Any], levels: int) -> list[Any]:
    if levels == 0:
        return items
    flat: list[Any] = []
    for item in items:
        if isinstance(item, list):
            flat.extend(_flat(item, levels - 1))
        else:
            flat.append(item)
    return flat


@overload(*(f"list({kind}).sort() list({kind})" for kind in _COMPARABLE), cost=lambda items: len(items) ** 2)
def _sort(items: list[Any]) -> list[Any]:
    return sort(items)


@overload("list(A).reverse() list(A)", cost=_traverse)
def _reverse(items: list[Any]) -> list[Any]:
    return items[::-1]


@overload("list(A).distinct() list(A)", cost=lambda items: len(items) ** 2)
def _distinct(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if not any(equal(item, one) for one in found):
            found.append(item)
    return found


@overload("::lists.range(int) list(int)", cost=float)
def _range(size: int) -> list[int]:
    if size > _MOST_RANGE:
        raise EvaluationError(f"range size {size} exceeds the limit of {_MOST_RANGE}")
    return list(range(size))


@overload("::sets.contains(list(A), list(A)) bool", cost=_product)
def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(any(equal(one, item) for item in items) for one in wanted)


@overload("::sets.equivalent(list(A), list(A)) bool", cost=_product)
def _equivalent(a: list[Any], b: list[Any]) -> bool:
    return bool(_contains(a, b) and _contains(b, a))


@overload("::sets.intersects(list(A), list(A)) bool", cost=_product)
def _intersects(a: list[Any], b: list[Any]) -> bool:
    return any(equal(one, other) for one in a for other in b)
