"""Messages whose JSON form is not an object of their fields: times, quantities, raw JSON, one-of-several types."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from slipway.cluster.schema.json_bodies import BadJson, parse_json
from slipway.cluster.schema.protobuf_wire import ProtobufError, field_bytes, fields_of, scalar


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()  # JSON shows nothing (a zero time)

# Decodes a message by name within the same body.
Nested = Callable[[str, int, int], Any]
Special = Callable[[bytes, int, int, Nested], Any]

_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_CRD = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _numbers(body: bytes, start: int, end: int, types: dict[int, str]) -> dict[int, Any]:
    """The scalar fields of a small message, by number."""
    return {
        number: scalar(types[number], body, wire_type, value, offset)
        for number, wire_type, value, offset in fields_of(body, start, end)
        if number in types
    }


def _moment(body: bytes, start: int, end: int) -> tuple[datetime, int] | None:
    """(second, nanoseconds); None for Go's zero time, which has no bytes at all."""
    if start == end:
        return None
    found = _numbers(body, start, end, {1: "int64", 2: "int32"})
    seconds, nanoseconds = found.get(1, 0), found.get(2, 0)
    if not 0 <= nanoseconds < 1_000_000_000:
        raise ProtobufError(f"a time has {nanoseconds} nanoseconds", start)
    try:
        return _EPOCH + timedelta(seconds=seconds), nanoseconds
    except OverflowError:
        raise ProtobufError(f"a time is {seconds} seconds from 1970, beyond the calendar", start) from None


def _written(moment: datetime) -> str:
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}"


def _time(body: bytes, start: int, end: int, _: Nested) -> Any:
    moment = _moment(body, start, end)
    return ABSENT if moment is None else f"{_written(moment[0])}Z"


def _micro_time(body: bytes, start: int, end: int, _: Nested) -> Any:
    moment = _moment(body, start, end)
    return ABSENT if moment is None else f"{_written(moment[0])}.{moment[1] // 1000:06}Z"


def _quantity(body: bytes, start: int, end: int, _: Nested) -> Any:
    return _numbers(body, start, end, {1: "string"}).get(1) or "0"


def _int_or_string(body: bytes, start: int, end: int, _: Nested) -> Any:
    found = _numbers(body, start, end, {1: "int64", 2: "int32", 3: "string"})
    kind = found.get(1, 0)
    if kind not in (0, 1):
        raise ProtobufError(f"type {kind} of an int-or-string is neither 0 nor 1", start)
    return found.get(3, "") if kind else found.get(2, 0)


def _raw_json(body: bytes, start: int, end: int, _: Nested) -> Any:
    """RawExtension, FieldsV1, JSON: one field of bytes that are JSON."""
    for number, wire_type, value, offset in fields_of(body, start, end):
        if number == 1:
            inner_start, inner_end = field_bytes(wire_type, value, offset)
            if inner_start == inner_end:
                return None
            try:
                return parse_json(body[inner_start:inner_end])
            except BadJson as error:
                raise ProtobufError(f"embedded bytes are not JSON: {error}", inner_start) from None
    return None


def _duration(body: bytes, start: int, end: int, _: Nested) -> Any:
    """As Go prints a duration: `1h2m3.5s`."""
    nanoseconds = _numbers(body, start, end, {1: "int64"}).get(1, 0)
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if rest >= size:
                return f"{sign}{_decimal(rest, size)}{unit}"
        return "0s"
    minutes, rest = divmod(rest, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{text}{_decimal(rest, 1_000_000_000)}s"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    return f"{whole}.{part:0{len(str(unit)) - 1}}".rstrip("0") if part else str(whole)


def _schema_or(alternative: str) -> Callable[[str], Special]:
    """JSONSchemaPropsOrArray, …OrBool, …OrStringArray: a schema, or else what field 2 (or 1) holds."""

    def of_version(version: str) -> Special:
        schema = f"{_CRD}{version}.JSONSchemaProps"

        def decode(body: bytes, start: int, end: int, nested: Nested) -> Any:
            single: Any = ABSENT
            many: list[Any] = []
            allows = False
            for number, wire_type, value, offset in fields_of(body, start, end):
                if alternative == "bool" and number == 1:
                    allows = scalar("bool", body, wire_type, value, offset)
                elif number == (2 if alternative == "bool" else 1):
                    single = nested(schema, *field_bytes(wire_type, value, offset))
                elif number == 2 and alternative == "schemas":
                    many.append(nested(schema, *field_bytes(wire_type, value, offset)))
                elif number == 2:
                    many.append(scalar("string", body, wire_type, value, offset))
            if alternative == "bool":
                return allows if single is ABSENT else single
            if many:
                return many
            return None if single is ABSENT else single

        return decode

    return of_version


SPECIAL_MESSAGES: dict[str, Special] = {
    _META + "Time": _time,
    _META + "Timestamp": _time,
    _META + "MicroTime": _micro_time,
    _META + "Duration": _duration,
    _META + "FieldsV1": _raw_json,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _quantity,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw_json,
    **{
        f"{_CRD}{version}.{name}": make(version)
        for version in ("v1", "v1beta1")
        for name, make in (
            ("JSON", lambda _: _raw_json),
            ("JSONSchemaPropsOrArray", _schema_or("schemas")),
            ("JSONSchemaPropsOrBool", _schema_or("bool")),
            ("JSONSchemaPropsOrStringArray", _schema_or("strings")),
        )
    },
}
