"""Label and field selectors: parsed once, then asked of every object.

Grammar and messages: k8s.io/apimachinery pkg/labels and pkg/fields (facts only).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.status import bad_request

_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|=|!|\(|\)|,|<|>)|(?P<word>[^\s=!(),<>]+))")
_NAME = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$")
_PREFIX = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must"
    " start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must"
    " start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used"
    " for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


# Gives the text of an object that a field selector is compared with.
Reader = Callable[[dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist, Gt, Lt
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        try:
            number, bound = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return number > bound if self.operator == "Gt" else number < bound


def _words(text: str) -> list[str]:
    words, position = [], 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            break
        words.append(found.group("op") or found.group("word"))
        position = found.end()
    return words


_NOT_A_KEY = frozenset({"=", "==", "!=", "(", ")", ",", "<", ">"})


class _LabelParser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.words = _words(text)
        self.position = 0

    def peek(self) -> str:
        return self.words[self.position] if self.position < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.position += 1
        return word

    def parse(self) -> tuple[Requirement, ...]:
        requirements: list[Requirement] = []
        while self.position < len(self.words):
            if self.peek() in _NOT_A_KEY:
                raise ValueError(f"found '{self.peek()}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self.requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            separator = self.take()
            if separator == "":
                break
            if separator != ",":
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            if self.peek() == "":
                raise ValueError("found '', expected: identifier after ','")
        return tuple(requirements)

    def requirement(self) -> Requirement:
        negated = self.peek() == "!"
        if negated:
            self.take()
        key = self.take()
        if key in _NOT_A_KEY or key in {"", "!"}:
            raise ValueError(f"found '{key}', expected: identifier")
        _check_key(key)
        if negated:
            return Requirement(key, "DoesNotExist")
        operator = self.peek()
        if operator in {"", ","}:
            return Requirement(key, "Exists")
        self.take()
        if operator in {"=", "==", "!="}:
            value = self.take() if self.peek() not in {"", ","} else ""
            _check_value(key, value)
            return Requirement(key, "NotIn" if operator == "!=" else "In", (value,))
        if operator in {"in", "notin"}:
            values = self.values()
            for value in values:
                _check_value(key, value)
            return Requirement(key, "In" if operator == "in" else "NotIn", values)
        if operator in {"<", ">"}:
            value = self.take()
            if not re.fullmatch(r"[+-]?\d+", value):
                raise ValueError(f'for Gt, Lt, operators, the value must be an integer: "{value}"')
            return Requirement(key, "Gt" if operator == ">" else "Lt", (value,))
        raise ValueError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def values(self) -> tuple[str, ...]:
        if self.take() != "(":
            raise ValueError(f"found '{self.words[self.position - 1]}' expected: '('")
        values: list[str] = []
        expect_value = True
        while True:
            word = self.take()
            if word == ")":
                if expect_value:
                    values.append("")
                return tuple(values)
            if word == ",":
                if expect_value:
                    values.append("")
                expect_value = True
            elif word == "":
                raise ValueError("found '', expected: ',' or ')'")
            else:
                values.append(word)
                expect_value = False


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    problems = []
    if prefix.count("/") or (slash and not prefix):
        problems.append(
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
            " with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for"
            " validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix"
            " and '/' (e.g. 'example.com/MyName')"
        )
    else:
        if slash and not _PREFIX.match(prefix):
            problems.append(f"prefix part {_SUBDOMAIN_RULE}")
        if not name:
            problems.append("name part must be non-empty")
        elif len(name) > 63:
            problems.append("name part must be no more than 63 bytes")
        if not _NAME.match(name):
            problems.append(_NAME_RULE)
    if problems:
        raise ValueError(f'key: Invalid value: "{key}": {"; ".join(problems)}')


def _check_value(key: str, value: str) -> None:
    if len(value) > 63:
        raise ValueError(f'values[0][{key}]: Invalid value: "{value}": must be no more than 63 bytes')
    if value and not _NAME.match(value):
        raise ValueError(f'values[0][{key}]: Invalid value: "{value}": {_VALUE_RULE}')


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The requirements of a `labelSelector` query value; ValueError in the API's words if it is not one."""
    return _LabelParser(text).parse()


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
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        found = re.match(r"^(.*?)(!=|==|=)(.*)$", part)
        if found is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = re.sub(r"\\(.)", r"\1", found.group(3))
        terms.append(FieldTerm(found.group(1).strip(), found.group(2) != "!=", value))
    return tuple(terms)


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

    @property
    def exact_name(self) -> str | None:
        """The one name that `metadata.name=…` allows, if there is such a term."""
        return next(
            (term.value for term, _ in self.fields if term.path == "metadata.name" and term.equal), None
        )


def select(
    label_selector: str,
    field_selector: str,
    fields: Mapping[str, Reader],
    *,
    declared: bool,
) -> Selection:
    """Both query values understood for a kind; `fields` are the selectors it knows, and how each is read.

    `declared` says that the kind lists its own fields beside name and namespace, which decides how an unknown
    one is refused. 400 in the API's words when a selector is malformed or names an unknown field.
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
            if declared:
                raise bad_request(f"field label not supported: {term.path}")
            raise bad_request(
                f'"{term.path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            )
        readers.append((term, read))
    return Selection(labels, tuple(readers))
