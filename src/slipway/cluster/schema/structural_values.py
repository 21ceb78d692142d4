"""Values against a structural schema: types, ranges, lengths, patterns, formats, enums, required, junctions.

Messages, their order and the choice of the "best" failing branch of `anyOf` and `oneOf` follow
k8s.io/kube-openapi `pkg/validation/validate` and apiextensions-apiserver `pkg/apiserver/validation` at 1.37.
On update, errors of values that did not change are let through (ratcheting): wherever old and new can be
correlated (same field, same key of a list map) and are equal, what is wrong inside is not reported.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural_formats import has_format
from slipway.cluster.schema.structural_lists import identity, list_map_key
from slipway.cluster.status import FieldError, go_float

_INT64 = 2**63
_INT32 = 2**31


class _NoOld:
    """No old value corresponds: what is wrong is always reported."""


NO_OLD = _NoOld()


class _Result:
    """Errors so far, by message (each once), and how many checks passed: the measure of the best branch."""

    __slots__ = ("errors", "matched")

    def __init__(self) -> None:
        self.errors: dict[str, FieldError] = {}
        self.matched = 0

    def add(self, message: str, error: FieldError) -> None:
        self.errors.setdefault(message, error)

    def merge(self, other: _Result) -> None:
        for message, error in other.errors.items():
            self.errors.setdefault(message, error)
        self.matched += other.matched


def value_errors(value: Any, shape: Shape, base: str = "", old: Any = NO_OLD) -> list[FieldError]:
    """What is wrong with `value`. `base` is its field; messages name fields below it only, as upstream's do.

    `old` is the stored value on update.
    """
    errors = _check(value, shape, "", old).errors.values()
    if not base:
        return list(errors)
    return [replace(e, field=base if e.field == "<nil>" else f"{base}.{e.field}") for e in errors]


def _check(value: Any, shape: Shape, path: str, old: Any) -> _Result:
    result = _Result()
    rules = shape.rules
    types = rules.get("type", ())
    if value is None:
        if types and not shape.nullable:
            _wrong_type(result, path, ",".join(types), "null")
        else:
            result.matched += 1
        if "enum" in rules:
            _check_enum(result, value, rules["enum"], path)
    else:
        _check_present(result, value, shape, rules, types, path, old)
    if result.errors and old is not NO_OLD and identity(old) == identity(value):
        result.errors = {}
    return result


def _check_present(
    result: _Result,
    value: Any,
    shape: Shape,
    rules: dict[str, Any],
    types: tuple[str, ...],
    path: str,
    old: Any,
) -> None:
    kind, inferred = _json_type(value)
    if types or "format" in rules:
        _check_type(result, value, kind, inferred, types, rules.get("format", ""), path)
        result.matched += 1
    if "anyOf" in rules or "oneOf" in rules or "allOf" in rules or "not" in rules:
        _check_junctions(result, value, rules, path, old)
    result.matched += 2
    if kind == "string":
        if rules:
            _check_string(result, value, rules, path)
        result.matched += 1 + ("format" in rules)
    elif kind == "integer" or kind == "number":
        _check_number(result, value, rules, types, path)
        result.matched += 2
    elif kind == "array":
        _check_array(result, value, shape, rules, path, old)
        result.matched += 2
    if "enum" in rules:
        _check_enum(result, value, rules["enum"], path)
    result.matched += 1
    if kind == "object":
        _check_object(result, value, shape, rules, path, old)
        result.matched += 1
    result.matched += 1


def _json_type(value: Any) -> tuple[str, str]:
    """The JSON type of a value, and the format that Go would infer for it."""
    if isinstance(value, str):
        return "string", ""
    if isinstance(value, bool):
        return "boolean", ""
    if isinstance(value, int):
        # A number that no int64 holds is decoded as a float64.
        return ("integer", "int64") if -_INT64 <= value < _INT64 else ("number", "float64")
    if isinstance(value, float):
        return "number", "float64"
    return ("array", "") if isinstance(value, list) else ("object", "")


def _check_type(
    result: _Result, value: Any, kind: str, inferred: str, types: tuple[str, ...], fmt: str, path: str
) -> None:
    whole = kind == "number" and "integer" in types and float(value).is_integer() and abs(value) < 2**53
    fits = kind in types or whole or (kind == "integer" and "number" in types)
    if fmt and kind not in ("string", "array"):
        if not fits and inferred != fmt:
            _wrong_type(result, path, fmt, inferred)
            return
    elif fmt and "number" not in types and "integer" not in types:
        # Upstream leaves strings and arrays to the format, which only looks at strings.
        result.matched += 1
        return
    if not fits:
        _wrong_type(result, path, ",".join(types), kind)
    else:
        result.matched += 1


def _wrong_type(result: _Result, path: str, wanted: str, got: str) -> None:
    message = f'{path} in body must be of type {wanted}: "{got}"'
    result.add(message, FieldError("FieldValueTypeInvalid", _field(path), got, message))


def _field(path: str) -> str:
    return path.removeprefix(".") or "<nil>"


def _invalid(result: _Result, path: str, value: Any, message: str, shown: str | None = None) -> None:
    result.add(message, FieldError("FieldValueInvalid", _field(path), value, message, shown))


def _general(result: _Result, message: str) -> None:
    """An error that upstream reports without a field."""
    result.add(message, FieldError("FieldValueInvalid", "<nil>", "", message))


def _check_junctions(result: _Result, value: Any, rules: dict[str, Any], path: str, old: Any) -> None:
    if "anyOf" in rules:
        best: _Result | None = None
        for branch in rules["anyOf"]:
            found = _check(value, branch, path, old)
            if not found.errors:
                best = found
                break
            if best is None or found.matched > best.matched:
                best = found
        if best is not None:
            if best.errors:
                _general(result, f'"{path}" must validate at least one schema (anyOf)')
            result.merge(best)
    if "oneOf" in rules:
        _check_one_of(result, value, rules["oneOf"], path, old)
    if "allOf" in rules:
        valid = 0
        for branch in rules["allOf"]:
            found = _check(value, branch, path, old)
            valid += not found.errors
            result.merge(found)
        if valid != len(rules["allOf"]):
            more = "" if valid else ". None validated"
            _general(result, f'"{path}" must validate all the schemas (allOf){more}')
    if "not" in rules and not _check(value, rules["not"], path, old).errors:
        _general(result, f'"{path}" must not validate the schema (not)')


def _check_one_of(result: _Result, value: Any, branches: tuple[Shape, ...], path: str, old: Any) -> None:
    best: _Result | None = None
    valid: list[_Result] = []
    for branch in branches:
        found = _check(value, branch, path, old)
        if not found.errors:
            valid.append(found)
        elif not valid and (best is None or found.matched > best.matched):
            best = found
    if len(valid) == 1:
        result.merge(valid[0])
        return
    found_text = f"Found {len(valid)} valid alternatives" if valid else "Found none valid"
    _general(result, f'"{path}" must validate one and only one schema (oneOf). {found_text}')
    if best is not None and not valid:
        result.merge(best)


def _check_string(result: _Result, value: str, rules: dict[str, Any], path: str) -> None:
    _check_length_and_pattern(result, value, rules, path)
    if "format" in rules and not has_format(value, rules["format"]):
        message = f"{path} in body must be of type {rules['format']}: {_quoted(value)}"
        result.add(message, FieldError("FieldValueTypeInvalid", _field(path), value, message))


def _quoted(text: str) -> str:
    return FieldError("FieldValueInvalid", "", text).body.removeprefix("Invalid value: ")


def _check_length_and_pattern(result: _Result, value: str, rules: dict[str, Any], path: str) -> None:
    """The first of maxLength, minLength and pattern that fails; the others are not looked at."""
    longest = rules.get("maxLength")
    if longest is not None and len(value) > longest:
        unit = "byte" if longest == 1 else "bytes"
        message = f"{path} in body should be at most {longest} chars long"
        detail = f"may not be more than {longest} {unit}"
        result.add(message, FieldError("FieldValueTooLong", _field(path), "", detail))
        return
    shortest = rules.get("minLength")
    if shortest is not None and len(value) < shortest:
        _invalid(result, path, value, f"{path} in body should be at least {shortest} chars long")
        return
    pattern = rules.get("pattern")
    if pattern:
        from slipway.cluster.schema.regexp import (  # no built-in kind has patterns
            InvalidPattern,
            compile_pattern,
        )

        try:
            found = compile_pattern(pattern).search(value)
        except InvalidPattern as error:
            pattern, found = f"{pattern}, but pattern is invalid: {error}", False
        if not found:
            _invalid(result, path, value, f"{path} in body should match '{pattern}'")


def _check_number(
    result: _Result, value: int | float, rules: dict[str, Any], types: tuple[str, ...], path: str
) -> None:
    size = _INT32 if rules.get("format") == "int32" else _INT64
    if types == ("integer",) and not (-size <= value < size and float(value).is_integer()):
        known = f"with format {rules['format']}" if "format" in rules else "(default format)"
        _general(result, f"Checked value must be of type integer {known} in {path}")
    elif types == ("number",) and rules.get("format") == "float" and abs(value) > 3.4028235677973366e38:
        _general(result, f"Checked value must be of type number with format float in {path}")
    for key in ("multipleOf", "maximum", "minimum"):
        if key in rules:
            _check_bound(result, value, key, rules, types, path)


_BOUND_NAMES = {"multipleOf": "MultipleOf", "maximum": "Maximum boundary", "minimum": "Minimum boundary"}
_BOUND_TEXTS = {
    "maximum": ("exclusiveMaximum", 1, ("less than or equal to", "less than")),
    "minimum": ("exclusiveMinimum", -1, ("greater than or equal to", "greater than")),
}


def _check_bound(
    result: _Result, value: int | float, key: str, rules: dict[str, Any], types: tuple[str, ...], path: str
) -> None:
    """One of multipleOf, maximum, minimum, with upstream's conversions between int64 and float64.

    An integer value is compared with the bound cut to an integer; only where the type says integer and the
    bound is not one, both are compared as floats, and that is an error of its own.
    """
    bound = float(rules[key])
    whole = isinstance(value, int) and -_INT64 <= value < _INT64
    size = _INT32 if rules.get("format") == "int32" else _INT64
    if types == ("integer",) and not (bound.is_integer() and -size <= bound < size):
        known = f"with format {rules['format']}" if "format" in rules else "(default format)"
        _general(result, f"{_BOUND_NAMES[key]} value must be of type integer {known} in {path}")
        value, whole = float(value), False
    limit: int | float = bound
    if whole:
        limit = int(bound) if -_INT64 <= bound < _INT64 else -_INT64
    shown = str(limit) if whole else go_float(limit)
    if key == "multipleOf":
        _check_multiple(result, value, limit, shown, path)
        return
    exclusive_key, sign, texts = _BOUND_TEXTS[key]
    exclusive = bool(rules.get(exclusive_key))
    excess = (value - limit) * sign
    if excess > 0 or (exclusive and excess == 0):
        _invalid(result, path, value, f"{path} in body should be {texts[exclusive]} {shown}", _number(value))


def _number(value: int | float) -> str:
    return go_float(value) if isinstance(value, float) else str(value)


def _check_multiple(
    result: _Result, value: int | float, factor: int | float, factor_shown: str, path: str
) -> None:
    if factor <= 0:
        message = f"factor MultipleOf declared for {path} must be positive: {factor_shown}"
        _invalid(result, path, factor, message, factor_shown)
        return
    if isinstance(value, int) and isinstance(factor, int):
        multiple = value % factor == 0
    else:
        multiple = _is_whole(1 / factor * value if factor < 1 else value / factor)
    if not multiple:
        _invalid(
            result, path, value, f"{path} in body should be a multiple of {factor_shown}", _number(value)
        )


def _is_whole(number: float) -> bool:
    """Whole within the error of one division, as swag.IsFloat64AJSONInteger has it."""
    if math.isnan(number) or math.isinf(number) or abs(number) > 2**53 - 1:
        return False
    nearest = round(number)
    return number == nearest or abs(number - nearest) < 1e-9 * max(abs(number), abs(nearest))


def _check_array(
    result: _Result, value: list[Any], shape: Shape, rules: dict[str, Any], path: str, old: Any
) -> None:
    if shape.items is not None:
        olds = _old_items(value, old, shape)
        for index, item in enumerate(value):
            result.merge(_check(item, shape.items, f"{path}[{index}]", olds[index] if olds else NO_OLD))
    fewest, most = rules.get("minItems"), rules.get("maxItems")
    if fewest is not None and len(value) < fewest:
        _invalid(result, path, len(value), f"{path} in body should have at least {fewest} items")
    if most is not None and len(value) > most:
        _too_many(result, path, len(value), most, f"{path} in body should have at most {most} items")
    if rules.get("uniqueItems") and len({identity(item) for item in value}) < len(value):
        _invalid(result, path, "", f"{path} in body shouldn't contain duplicates")


def _old_items(value: list[Any], old: Any, shape: Shape) -> list[Any] | None:
    """The old item of each item of a list map; other lists are not correlated by item."""
    if shape.list_type != "map" or not isinstance(old, list):
        return None
    by_key = {identity(list_map_key(item, shape.list_map_keys)): item for item in old}
    return [by_key.get(identity(list_map_key(item, shape.list_map_keys)), NO_OLD) for item in value]


def _too_many(result: _Result, path: str, size: int, most: int, message: str) -> None:
    unit = "item" if most == 1 else "items"
    detail = f"must have at most {most} {unit}"
    result.add(message, FieldError("FieldValueTooMany", _field(path), size, detail))


def _check_enum(result: _Result, value: Any, allowed: list[Any], path: str) -> None:
    if value is not None and any(_same(value, one) for one in allowed):
        return
    shown = ", ".join(_quoted(one if isinstance(one, str) else identity(one)) for one in allowed)
    message = f"{path} in body should be one of {allowed}"
    detail = f"supported values: {shown}"
    result.add(message, FieldError("FieldValueNotSupported", _field(path), value, detail))


def _same(value: Any, allowed: Any) -> bool:
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    if isinstance(value, dict | list):
        return identity(value) == identity(allowed)
    if isinstance(value, float) and isinstance(allowed, int) and math.isfinite(value):
        return int(value) == allowed  # Go converts to the type of the allowed value
    return bool(value == allowed)


def _check_object(
    result: _Result, value: dict[str, Any], shape: Shape, rules: dict[str, Any], path: str, old: Any
) -> None:
    fewest, most = rules.get("minProperties"), rules.get("maxProperties")
    if fewest is not None and len(value) < fewest:
        _invalid(result, path, len(value), f"{path} in body should have at least {fewest} properties")
    if most is not None and len(value) > most:
        _too_many(result, path, len(value), most, f"{path} in body should have at most {most} properties")
    olds = old if isinstance(old, dict) else {}
    properties, additional = shape.properties, shape.additional
    if additional is not None or "additionalProperties" in rules:
        for key, child in value.items():
            if key in properties:
                continue
            if additional is not None and shape.kind == "map":
                if additional.rules or additional.properties:
                    result.merge(_check(child, additional, f"{path}.{key}", olds.get(key, NO_OLD)))
            else:
                _invalid(result, path, key, f"{path}.{key} in body is a forbidden property")
    for key, known in properties.items():
        if key not in value:
            continue
        before = olds.get(key, NO_OLD)
        if not path and key in ("apiVersion", "kind"):
            before = NO_OLD  # never ratcheted: the old object was converted to the same version
        result.merge(_check(value[key], known, f"{path}.{key}" if path else key, before))
    for key in shape.required:
        if key not in value:
            message = f"{path}.{key} in body is required"
            result.add(message, FieldError("FieldValueRequired", _field(f"{path}.{key}")))
