"""Name formats of Kubernetes; each check returns what is wrong, in apimachinery's words, nothing if all is well.

Texts follow k8s.io/apimachinery `pkg/util/validation` and `pkg/api/validate/content` at 1.37.
"""

from __future__ import annotations

import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_KEY})?"

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_KEY_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT = f"a valid label must be an empty string or {_KEY_TEXT.removeprefix('must ')}"


def too_long(limit: int, unit: str = "characters") -> str:
    return f"must be no more than {limit} {unit}"


def mismatch(text: str, pattern: str, *examples: str) -> str:
    """The message for a value that does not match `pattern`."""
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


def dns1123_label(value: str) -> list[str]:
    wrong = [too_long(63)] if len(value.encode()) > 63 else []
    if not re.fullmatch(_LABEL, value):
        if re.fullmatch(_SUBDOMAIN, value):
            wrong.append("must not contain dots")
        else:
            wrong.append(mismatch(_LABEL_TEXT, _LABEL, "my-name", "123-abc"))
    return wrong


def dns1123_subdomain(value: str) -> list[str]:
    wrong = [too_long(253)] if len(value.encode()) > 253 else []
    if not re.fullmatch(_SUBDOMAIN, value):
        wrong.append(mismatch(_SUBDOMAIN_TEXT, _SUBDOMAIN, "example.com"))
    return wrong


def dns1035_label(value: str) -> list[str]:
    wrong = [too_long(63)] if len(value.encode()) > 63 else []
    if not re.fullmatch(_DNS1035, value):
        wrong.append(mismatch(_DNS1035_TEXT, _DNS1035, "my-name", "abc-123"))
    return wrong


def label_key(value: str) -> list[str]:
    """Keys of labels and annotations, finalizers: `name` or `example.com/name`."""
    parts = value.split("/")
    if len(parts) > 2:
        text = mismatch(_KEY_TEXT, _KEY, "MyName", "my.name", "123-abc")
        return [
            f"a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    wrong: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            wrong.append("prefix part must be non-empty")
        problems = dns1123_subdomain(parts[0]) if parts[0] else []
        wrong += [f"prefix part {text}".replace(too_long(253), too_long(253, "bytes")) for text in problems]
    name = parts[-1]
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        wrong.append(f"name part {too_long(63, 'bytes')}")
    if not re.fullmatch(_KEY, name):
        wrong.append(f"name part {mismatch(_KEY_TEXT, _KEY, 'MyName', 'my.name', '123-abc')}")
    return wrong


def label_value(value: str) -> list[str]:
    wrong = [too_long(63, "bytes")] if len(value.encode()) > 63 else []
    if not re.fullmatch(_LABEL_VALUE, value):
        wrong.append(mismatch(_LABEL_VALUE_TEXT, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return wrong


def path_segment(value: str) -> list[str]:
    """What may stand as one segment of a URL path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{illegal}'" for illegal in ("/", "%") if illegal in value]
