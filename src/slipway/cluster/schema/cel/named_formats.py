"""Kubernetes' named formats in CEL: `format.dns1123Label().validate(text)` gives what is wrong, if anything is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from slipway.cluster.schema import names
from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.values import Opaque, Optional
from slipway.cluster.schema.structural_formats import has_format

NAMED_FORMATS = Functions()
overload = NAMED_FORMATS.overload
Check = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class NamedFormat(Opaque):
    type_name: ClassVar[str] = "kubernetes.NamedFormat"
    name: str


def _prefix(check: Check) -> Check:
    """A prefix of a generated name may end in a hyphen."""
    return lambda text: check(text[:-2] + "a" if len(text) > 1 and text.endswith("-") else text)


def _string_format(name: str, why: str) -> Check:
    return lambda text: [] if has_format(text, name) else [why]


_FORMATS: dict[str, Check] = {
    "dns1123Label": names.dns1123_label,
    "dns1123Subdomain": names.dns1123_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.label_key,
    "dns1123LabelPrefix": _prefix(names.dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns1035_label),
    "labelValue": names.label_value,
    "uri": _string_format("uri", "invalid URI for request"),
    "uuid": _string_format("uuid", "does not match the UUID format"),
    "byte": _string_format("byte", "invalid base64"),
    "date": _string_format("date", "invalid date"),
    "datetime": _string_format("date-time", "invalid datetime"),
}


def _constant(name: str) -> None:
    value = NamedFormat(name)

    @overload(f"::format.{name}() kubernetes.NamedFormat")
    def _format() -> NamedFormat:
        return value


for _name in _FORMATS:
    _constant(_name)


@overload("::format.named(string) optional_type(kubernetes.NamedFormat)")
def _named(name: str) -> Optional:
    return Optional(True, NamedFormat(name)) if name in _FORMATS else Optional()


@overload(
    "kubernetes.NamedFormat.validate(string) optional_type(list(string))",
    cost=lambda _, text: len(text) * 3.2,  # as the regular expression of 128 characters that upstream assumes
)
def _validate(value: NamedFormat, text: str) -> Optional:
    wrong = _FORMATS[value.name](text)
    return Optional(True, wrong) if wrong else Optional()
