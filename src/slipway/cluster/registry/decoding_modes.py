"""How bodies are decoded: a value of the wrong type is refused; unknown and repeated fields are refused, warned of,
or ignored (`fieldValidation`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.object_metadata import check_known, check_type
from slipway.cluster.schema.decoding import Style, cannot_be_handled, strict_decoding_error
from slipway.cluster.schema.go_scalars import NotDecodable
from slipway.cluster.status import FieldError, invalid

Object = dict[str, Any]
REPEATED_KEYS = (
    "yaml: unmarshal errors:"  # the first line of one error, which becomes a warning for each other line
)


def decoded(definition: Definition, call: Call, body: Object) -> Object:
    """The object of a call's body, which is taken over. 400 for one of another kind and what cannot be decoded; what is
    only warned of is noted with the call."""
    resource = definition.resource
    check_type(body, resource, resource.kind, resource.api_version)
    obj, warnings = decode_body(definition, body, call.options.field_validation, body_errors=call.body_errors)
    call.warnings += warnings
    return obj


def decode_body(
    definition: Definition, obj: Object, mode: str, style: Style = "json", body_errors: Sequence[str] = ()
) -> tuple[Object, list[str]]:
    """The object of a body as it is kept, and warnings. 400 for what cannot be decoded. `body_errors` is what strict
    decoding says of the text of the body."""
    try:
        decoded, unknown = definition.decode(obj, style)
        strict_errors = [*body_errors, *unknown]
        _refuse(strict_errors, mode)
    except NotDecodable as error:
        resource = definition.resource
        raise cannot_be_handled(resource.kind, resource.version, error) from None
    return decoded, warnings_of(strict_errors, mode)


def decode_patched(
    definition: Definition,
    obj: Object,
    mode: str,
    style: Style,
    patch_errors: Sequence[str],
    shown: Callable[[], str],
) -> tuple[Object, list[str]]:
    """The same for the outcome of a patch: 422, which says what `shown` does. `patch_errors` is what strict
    decoding says of the patch itself."""
    try:
        if style == "json":
            check_known(obj, definition.resource)
        decoded, unknown = definition.decode(obj, style)
        strict_errors = [*patch_errors, *unknown]
        _refuse(strict_errors, mode)
    except NotDecodable as error:
        raise invalid("", "", "", [FieldError("FieldValueInvalid", "patch", shown(), str(error))]) from None
    return decoded, warnings_of(strict_errors, mode)


def _refuse(texts: list[str], mode: str) -> None:
    if texts and mode == "Strict":
        raise NotDecodable(strict_decoding_error(texts))


def warnings_of(strict_errors: Sequence[str], mode: str) -> list[str]:
    """What a client is warned of that is not refused."""
    if mode == "Ignore":
        return []
    warnings: list[str] = []
    for text in strict_errors:
        first, *others = text.split("\n")
        warnings += [line.strip() for line in others] if first == REPEATED_KEYS else [text]
    return warnings
