"""What the `statusTemplate` of a KWOK Stage plainly says of a pod's containers, without rendering the Go template.

Read are the phase, and of the containers and the init containers the first state with its exit code, reason and
message. A value may be written out, or be an annotation of the pod with a default, as KWOK's own stages have it:

    {{ $code := or ( index $annotations "example.com/exit-code" ) 1 }}

Of the two branches of a condition the one is read that is about the containers asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_DEFINITION = re.compile(r"(\$\w+)\s*:?=\s*(.*)", re.DOTALL)
_ANNOTATION = re.compile(
    r"""(?:or\s*\(\s*)?index\s+(?:\$\w+|\(?\s*\.metadata\.annotations\s*\)?)\s+["`]([^"`]+)["`]\s*\)?\s*(.*)""",
    re.DOTALL,
)
_SECTION = re.compile(r"^(\w+):(.*)$", re.MULTILINE)
_STATE = re.compile(r"^[ \t-]*(waiting|running|terminated):", re.MULTILINE)
_NAMED = re.compile(r"eq\s+(?:\$\w+)?\.name\s+(\$\w+)")
_LISTS = {"app": "containerStatuses", "init": "initContainerStatuses"}


class TemplateError(ValueError):
    """A value of the template is neither written out nor an annotation; the text names it."""


@dataclass(frozen=True, slots=True)
class Value:
    """What the annotation says, or the default where the pod has no such annotation."""

    default: str = ""
    annotation: str = ""

    def of(self, annotations: Mapping[str, str]) -> str:
        return (annotations.get(self.annotation) if self.annotation else "") or self.default


@dataclass(frozen=True, slots=True)
class ContainerState:
    """`state` is waiting, running or terminated. `only` is the name of the container that it is about; empty is all."""

    state: str
    code: Value
    reason: Value
    message: Value
    only: Value


@dataclass(frozen=True, slots=True)
class StatusTemplate:
    phase: str
    containers: Mapping[str, ContainerState]  # by kind: app, init


def read_status_template(text: str) -> StatusTemplate:
    """TemplateError where an exit code, reason or message cannot be made out."""
    values = _values(text)
    states = {}
    for kind, field in _LISTS.items():
        plain, only = _without_actions(text, kind)
        section = _sections(plain).get(field, "")
        found = _STATE.search(section)
        if found is not None:
            said = section[found.end() :]
            states[kind] = ContainerState(
                found[1],
                _said(said, "exitCode", values),
                _said(said, "reason", values),
                _said(said, "message", values),
                values.get(only, Value()),
            )
    phase = _sections(_without_actions(text, "app")[0]).get("phase", "")
    return StatusTemplate(_literal(phase.strip()), states)


def _values(text: str) -> dict[str, Value]:
    """The variables that the template defines, as far as they can be known."""
    values: dict[str, Value] = {}
    for action in _ACTION.findall(text):
        definition = _DEFINITION.fullmatch(action)
        if definition is None:
            continue
        value = _value(definition[2].strip(), values)
        if value is not None:
            values[definition[1]] = value
    return values


def _value(expression: str, values: Mapping[str, Value]) -> Value | None:
    if expression.startswith("$"):
        return values.get(expression)
    if re.fullmatch(r'"[^"]*"|`[^`]*`|-?\d+', expression):
        return Value(expression.strip('"`'))
    annotation = _ANNOTATION.fullmatch(expression)
    if annotation is None:
        return None
    default = _value(annotation[2].strip(), values) if annotation[2].strip() else Value()
    return None if default is None else Value(default.default, annotation[1])


def _without_actions(text: str, kind: str) -> tuple[str, str]:
    """The text of the branches that are about containers of a kind, with `{{ $name }}` left in it, and the variable
    that a container's name is compared with."""
    kept: list[str] = []
    open_blocks: list[bool] = []  # whether each block that is open is read
    only = ""
    at = 0
    for action in _ACTION.finditer(text):
        if all(open_blocks):
            kept.append(text[at : action.start()])
        at = action.end()
        words = action[1]
        keyword = words.split(None, 1)[0] if words else ""
        if keyword == "if":
            named = _NAMED.search(words)
            if named is not None and all(open_blocks):
                only = named[1]
            open_blocks.append(_is_about(words, kind))
        elif keyword in ("range", "with", "block", "define"):
            open_blocks.append(True)
        elif keyword == "else" and open_blocks:
            open_blocks[-1] = not open_blocks[-1]
        elif keyword == "end" and open_blocks:
            open_blocks.pop()
        elif all(open_blocks):
            kept.append(action[0])
    kept.append(text[at:])
    return "".join(kept), only


def _is_about(condition: str, kind: str) -> bool:
    """A pod with init containers is read for what it says of them, one without for the others; neither is a sidecar."""
    if ".restartPolicy" in condition:
        return False
    if re.fullmatch(r"if\s+\.spec\.initContainers", condition):
        return kind == "init"
    return True


def _sections(text: str) -> dict[str, str]:
    """The fields at the left margin, each with what is below it."""
    found = list(_SECTION.finditer(text))
    ends = [*(match.start() for match in found), len(text)][1:]
    return {match[1]: match[2] + text[match.end() : end] for match, end in zip(found, ends, strict=False)}


def _said(section: str, field: str, values: Mapping[str, Value]) -> Value:
    found = re.search(rf"^[ \t]*{field}:[ \t]*(.*)$", section, re.MULTILINE)
    if found is None:
        return Value()
    written = found[1].strip()
    action = _ACTION.fullmatch(written)
    if action is None:
        return Value(_literal(written))
    expression = re.sub(r"\s*\|\s*\w+$", "", action[1])
    value = (
        _value(expression.strip("() "), values) if expression.startswith("(") else _value(expression, values)
    )
    if value is None:
        raise TemplateError(f"{field}: {written} is neither written out nor an annotation of the pod")
    return value


def _literal(written: str) -> str:
    return written.strip().strip("'\"")
