"""A YAML file with the line of every key, checked against keys.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sungather.errors import ConfigError


@dataclass
class Document:
    """Plain data, plus the line on which each path was written ("inverter.port", "exports[2].url")."""

    path: Path
    data: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)
    repeated: list[tuple[str, int]] = field(default_factory=list)
    """Keys that are written twice in one mapping, with the line that wins."""

    def error(self, key: str, problem: str) -> ConfigError:
        """The error, with the line of the key, or of what should hold it when it is not there."""
        line, place = self.lines.get(key), key
        while line is None and "." in place:
            place = place.rpartition(".")[0]
            line = self.lines.get(place)
        return ConfigError(self.path, problem, line=line, key=key)


def read(path: Path) -> Document:
    """The file as data, or ConfigError with the line that is at fault."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(path, f"cannot be read: {reason}") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        found = Document(path, {})
        if root is not None:
            _walk(root, "", found)
        data = loader.construct_document(root) if root is not None else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        if isinstance(error, RecursionError):
            problem = "it refers to itself, or is nested too deeply"
        raise ConfigError(
            path, f"is not valid YAML: {problem}", line=mark.line + 1 if mark else None
        ) from error
    finally:
        loader.dispose()
    if data is None:
        raise ConfigError(path, "is empty: it needs at least inverter: host:")
    if not isinstance(data, dict):
        raise ConfigError(path, f"must be a mapping with inverter: and exports:, not {_kind(data)}", line=1)
    found.data = data
    return found


def _walk(node: yaml.Node, path: str, found: Document) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{path}.{key.value}" if path else str(key.value)
            if name in found.lines:
                found.repeated.append((name, key.start_mark.line + 1))
            found.lines[name] = key.start_mark.line + 1
            _walk(value, name, found)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found.lines[f"{path}[{index}]"] = value.start_mark.line + 1
            _walk(value, f"{path}[{index}]", found)


@cache
def keys() -> dict[str, Any]:
    """The table of allowed keys."""
    table: dict[str, Any] = yaml.safe_load(
        (files("sungather.configuration") / "keys.yaml").read_text("utf-8")
    )
    return table


def check(
    document: Document, path: str, given: Any, allowed: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """The mapping with defaults filled in. Unknown keys become warnings, wrong values raise ConfigError."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise document.error(path, f"must be a mapping of settings, not {_kind(given)}")
    foreign = [key for key in given if key not in allowed and key not in ("name", "enabled")]
    warnings += [unknown(document, f"{path}.{key}", str(key), allowed) for key in foreign]
    for key in foreign:
        near = difflib.get_close_matches(str(key), allowed, n=1)
        if near and near[0] not in given and allowed[near[0]].get("required"):
            raise document.error(f"{path}.{key}", f"is not a key; {near[0]} is required: did you mean that?")
    return {
        key: _value(document, f"{path}.{key}", given.get(key), rule, warnings)
        for key, rule in allowed.items()
    }


def unknown(document: Document, path: str, key: str, allowed: Mapping[str, Any]) -> str:
    """The warning for a key that nothing reads."""
    line = document.lines.get(path)
    return f"{document.path}, line {line}: unknown key {path} is ignored{nearest(key, allowed)}"


def nearest(key: str, allowed: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence; empty when nothing comes near."""
    near = difflib.get_close_matches(key, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _value(document: Document, path: str, value: Any, rule: Mapping[str, Any], warnings: list[str]) -> Any:
    if value is None:
        if rule.get("required"):
            raise document.error(path, f"is required: {rule.get('help', 'give a value')}")
        return rule.get("default")
    return _CHECKS[rule["type"]](document, path, value, rule, warnings)


def _text(document: Document, path: str, value: Any, rule: Mapping[str, Any], _: list[str]) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise document.error(path, f"must be text, not {_kind(value)}")
    text = str(value)
    if any(ord(c) < 32 for c in text):
        raise document.error(path, "must be one line of text without control characters")
    if rule.get("required") and not text.strip():
        raise document.error(path, f"is empty: {rule.get('help', 'give a value')}")
    return text


def _number(document: Document, path: str, value: Any, rule: Mapping[str, Any], _: list[str]) -> int | float:
    whole = rule["type"] == "integer"
    if isinstance(value, str):
        try:
            value = int(value, 0) if whole else float(value)
        except ValueError:
            raise document.error(
                path, f"must be a {'whole ' if whole else ''}number, not {value!r}"
            ) from None
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise document.error(path, f"must be a {'whole ' if whole else ''}number, not {_kind(value)}")
    low, high = rule.get("min"), rule.get("max")
    if (low is not None and value < low) or (high is not None and value > high) or value != value:
        raise document.error(path, f"is {value}, allowed is {low} to {high}")
    return value


def _boolean(document: Document, path: str, value: Any, rule: Mapping[str, Any], _: list[str]) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise document.error(path, f"must be true or false, not {_kind(value)}")
    return value


def _choice(document: Document, path: str, value: Any, rule: Mapping[str, Any], _: list[str]) -> str:
    choices: list[str] = rule["choices"]
    written = "OFF" if value is False and "OFF" in choices else str(value)  # YAML reads a bare OFF as false
    for choice in choices:
        if written.lower() == choice.lower():
            return choice
    raise document.error(path, f"is {value!r}, allowed: {', '.join(choices)}")


def _list(
    document: Document, path: str, value: Any, rule: Mapping[str, Any], warnings: list[str]
) -> list[Any]:
    if not isinstance(value, list):
        raise document.error(path, f"must be a list, not {_kind(value)}")
    items = []
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        if not isinstance(item, dict):
            raise document.error(where, f"must be a mapping, not {_kind(item)}")
        items.append(
            dict(item) if rule["item"] == "any" else check(document, where, item, rule["item"], warnings)
        )
    return items


_CHECKS = {
    "text": _text,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
    "choice": _choice,
    "list": _list,
}


def _kind(value: Any) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        bool: "true/false",
        int: "a number",
        float: "a number",
        str: "text",
    }
    return f"{names.get(type(value), type(value).__name__)} ({str(value)[:40]!r})"
