"""Errors as Kubernetes words them: `StatusError` is a metav1.Status in flight, `FieldError` one invalid field.

Messages and reasons follow k8s.io/apimachinery `pkg/api/errors` and `pkg/util/validation/field` (facts only);
the recorded answers of a real server in `tests/conformance` hold them to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

FieldReason = Literal[
    "FieldValueNotFound",
    "FieldValueRequired",
    "FieldValueDuplicate",
    "FieldValueInvalid",
    "FieldValueNotSupported",
    "FieldValueForbidden",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "InternalError",
    "FieldValueTypeInvalid",
]

_REASON_TEXT: dict[str, str] = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "InternalError": "Internal error",
    "FieldValueTypeInvalid": "Invalid value",
}
_WITHOUT_VALUE = {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "InternalError"}


_GO_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}


def go_quote(text: str) -> str:
    """A text as Go's %q prints it: in quotes, what is not printable escaped."""
    return '"' + "".join(map(_go_char, text)) + '"'


def _go_char(char: str) -> str:
    if char in _GO_ESCAPES:
        return _GO_ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_value(value: Any) -> str:
    """A value as Go's %v / %q prints it in field errors: strings quoted, null as `null`, objects as JSON."""
    if isinstance(value, str):
        return go_quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return go_float(value) if isinstance(value, float) else str(value)


def go_float(value: float) -> str:
    """A float64 as Go's %v prints it: shortest, with an exponent from a million on (`1e+06`)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    number = Decimal(repr(value)).normalize()
    sign, digits, exponent = number.as_tuple()
    power = len(digits) + int(exponent) - 1
    if -4 <= power < 6:
        return format(number, "f")
    first, rest = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{first}{'.' + rest if rest else ''}e{power:+03d}"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field. `shown` replaces the printed value where Go prints it in a way of its own; an empty
    text leaves the value out."""

    reason: FieldReason
    field: str
    value: Any = None
    detail: str = ""
    shown: str | None = None

    @property
    def body(self) -> str:
        """The message without the field's path (a cause's `message`)."""
        text = _REASON_TEXT[self.reason]
        if self.reason not in _WITHOUT_VALUE and self.shown != "":
            text += f": {go_value(self.value) if self.shown is None else self.shown}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"

    def cause(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.body, "field": self.field}


class StatusError(Exception):
    """A failed request: HTTP code, reason, message and details of the Status that answers it."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}
        self.metadata = metadata or {}

    def to_object(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    @classmethod
    def from_object(cls, status: dict[str, Any]) -> StatusError:
        return cls(
            int(status.get("code") or 500),
            str(status.get("reason") or ""),
            str(status.get("message") or ""),
            status.get("details"),
            metadata=status.get("metadata"),
        )


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(name: str, group: str, kind: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return {**details, **more}


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(plural: str, group: str, name: str, why: str, **more: Any) -> StatusError:
    subject = f'{_qualified(plural, group)} "{name}"' if plural else f'"{name}"'
    return StatusError(
        403, "Forbidden", f"{subject} is forbidden: {why}", _details(name, group, plural, **more)
    )


def not_found(plural: str, group: str, name: str) -> StatusError:
    return StatusError(
        404,
        "NotFound",
        f'{_qualified(plural, group)} "{name}" not found',
        _details(name, group, plural),
    )


def resource_not_found() -> StatusError:
    """A path whose group version is served but whose resource or sub-resource is not."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> StatusError:
    return StatusError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def not_supported(verb: str, plural: str, group: str) -> StatusError:
    """What a custom resource says to a verb that its sub-resource has not."""
    message = f'{verb} is not supported on resources of kind "{_qualified(plural, group)}"'
    return StatusError(405, "MethodNotAllowed", message, _details("", group, plural))


def not_acceptable(message: str) -> StatusError:
    return StatusError(406, "NotAcceptable", message)


def already_exists(plural: str, group: str, name: str) -> StatusError:
    return StatusError(
        409,
        "AlreadyExists",
        f'{_qualified(plural, group)} "{name}" already exists',
        _details(name, group, plural),
    )


def conflict(plural: str, group: str, name: str, why: str) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}',
        _details(name, group, plural),
    )


OBJECT_MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def expired(message: str, continue_token: str = "") -> StatusError:
    metadata = {"continue": continue_token} if continue_token else {}
    return StatusError(410, "Expired", message, metadata=metadata)


def unsupported_media_type(message: str) -> StatusError:
    return StatusError(415, "UnsupportedMediaType", message)


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422 with one cause per field; `kind` is the Kind, not the plural."""
    subject = f"{kind}.{group}" if group else kind
    return StatusError(
        422,
        "Invalid",
        f'{subject} "{name}" is invalid: {summed_up(errors)}',
        _details(name, group, kind, causes=[error.cause() for error in errors]),
    )


def summed_up(errors: Sequence[FieldError]) -> str:
    """All errors in one text."""
    texts = list(dict.fromkeys(str(error) for error in errors))  # upstream says the same thing once
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"


def too_many_requests(message: str, retry_after: int, **more: Any) -> StatusError:
    details = {"retryAfterSeconds": retry_after, **more}
    return StatusError(429, "TooManyRequests", message, details, {"Retry-After": str(retry_after)})


def internal_error(message: str) -> StatusError:
    return StatusError(
        500,
        "InternalError",
        f"Internal error occurred: {message}",
        {"causes": [{"message": message}]},
    )
