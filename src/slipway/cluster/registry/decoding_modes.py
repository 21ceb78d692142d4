"""How bodies are decoded: a value of the wrong type is refused; unknown and repeated fields are refused, warned of,
or ignored (`fieldValidation`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.object_metadata import check_known
from slipway.cluster.schema.decoding import Style, cannot_be_handled, strict_decoding_error
from slipway.cluster.schema.go_scalars import NotDecodable
from slipway.cluster.status import FieldError, invalid

Object = dict[str, Any]


def decode_body(
    definition: Definition, obj: Object, mode: str, style: Style = "json"
) -> tuple[Object, list[str]]:
    """The object of a body as it is kept, and warnings. 400 for what cannot be decoded."""
    try:
        decoded, warnings = definition.decode(obj, style)
        _refuse(warnings, mode)
    except NotDecodable as error:
        resource = definition.resource
        raise cannot_be_handled(resource.kind, resource.version, error) from None
    return decoded, _unless_ignored(warnings, mode)


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
        warnings = [*patch_errors, *unknown]
        _refuse(warnings, mode)
    except NotDecodable as error:
        raise invalid("", "", "", [FieldError("FieldValueInvalid", "patch", shown(), str(error))]) from None
    return decoded, _unless_ignored(warnings, mode)


def _refuse(texts: list[str], mode: str) -> None:
    if texts and mode == "Strict":
        raise NotDecodable(strict_decoding_error(texts))


def _unless_ignored(texts: list[str], mode: str) -> list[str]:
    return [] if mode == "Ignore" else texts
