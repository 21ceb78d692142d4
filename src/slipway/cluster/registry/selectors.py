"""Label and field selectors: parsed once, then asked of every object.

Grammar and messages: k8s.io/apimachinery pkg/fields/selector.go (facts only).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.registry.label_selectors import Requirement, parse_labels
from slipway.cluster.status import bad_request

# Gives the text of an object that a field selector is compared with.
Reader = Callable[[dict[str, Any]], str]


def requirements_of(selector: Mapping[str, Any] | None) -> tuple[Requirement, ...]:
    """The requirements of a metav1.LabelSelector object; an empty one matches everything."""
    requirements = [
        Requirement(key, "In", (value,)) for key, value in ((selector or {}).get("matchLabels") or {}).items()
    ]
    requirements += [
        Requirement(
            expression.get("key", ""), expression.get("operator", ""), tuple(expression.get("values") or ())
        )
        for expression in (selector or {}).get("matchExpressions") or []
    ]
    return tuple(requirements)


def labels_match(requirements: tuple[Requirement, ...], labels: Mapping[str, str] | None) -> bool:
    labels = labels or {}
    return all(requirement.matches(labels) for requirement in requirements)


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One `path=value` or `path!=value`."""

    path: str
    equal: bool
    value: str


def parse_fields(text: str) -> tuple[FieldTerm, ...]:
    """The terms of a `fieldSelector` query value; ValueError in the API's words."""
    terms: list[FieldTerm] = []
    for part in sorted(re.findall(r"(?:\\.|[^,\\]|\\$)+", text, re.DOTALL)):
        path, operator, value = _split(part)
        if not operator:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        terms.append(FieldTerm(path, operator != "!=", _unescaped(value)))
    return tuple(terms)


def _split(term: str) -> tuple[str, str, str]:
    found = re.search(r"!=|==|=", term)
    return (term[: found.start()], found.group(), term[found.end() :]) if found else (term, "", "")


def _unescaped(value: str) -> str:
    """Comma, equals sign and backslash stand for themselves only behind a backslash."""
    rest = re.sub(r"\\[\\,=]", "", value)
    wrong = re.search(r"\\.?|[,=]", rest, re.DOTALL)
    if wrong is None:
        return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    if wrong.group().startswith("\\"):
        raise ValueError(f"invalid field selector: invalid escape sequence: {wrong.group()}")
    raise ValueError(f"invalid field selector: unescaped character in value: {ord(wrong.group())}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Both selectors of a request together."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[FieldTerm, Reader], ...] = ()

    @property
    def everything(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, obj: dict[str, Any]) -> bool:
        if self.labels and not labels_match(self.labels, (obj.get("metadata") or {}).get("labels")):
            return False
        return all((read(obj) == term.value) == term.equal for term, read in self.fields)


def select(
    label_selector: str,
    field_selector: str,
    fields: Mapping[str, Reader],
    unknown: str,
) -> Selection:
    """Both query values understood for a kind; `fields` are the selectors it knows, and how each is read.

    400 in the API's words when a selector is malformed or, in those of `unknown`, names another field.
    """
    try:
        labels = parse_labels(label_selector)
        terms = parse_fields(field_selector)
    except ValueError as error:
        raise bad_request(str(error)) from None
    readers: list[tuple[FieldTerm, Reader]] = []
    for term in terms:
        read = fields.get(term.path)
        if read is None:
            raise bad_request(unknown.format(term.path))
        readers.append((term, read))
    return Selection(labels, tuple(readers))
