"""Bodies in YAML, both ways. Imported when a request brings or wants one: a cluster starts without YAML."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml

from slipway.cluster.schema.json_bodies import MAX_DEPTH, BadJson
from slipway.cluster.status import go_float

_BASE: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NODES = 1_000_000  # of a document whose aliases are written out: more than any body has that means well
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_bytes(value: Any) -> bytes:
    """A document as YAML."""
    text: bytes = yaml.dump(
        value, Dumper=_DUMPER, default_flow_style=False, allow_unicode=True, encoding="utf-8"
    )
    return text


class _Loader(_BASE):  # type: ignore[misc, valid-type]
    """Reads what JSON can say: dates stay texts, and tags of other languages mean nothing."""

    yaml_implicit_resolvers: ClassVar[Any] = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in _BASE.yaml_implicit_resolvers.items()
    }

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.repeated: list[
            str
        ] = []  # what go-yaml says of keys that a map has again, inner maps before outer ones

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        own = {id(key_node) for key_node, _ in node.value}
        self.flatten_mapping(node)  # which puts keys of other maps before its own
        found: dict[str, Any] = {}
        told = set()
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadJson("yaml: invalid map key: only a text can name a value")
            key = self.construct_object(key_node)
            found[_key(key)] = self.construct_object(value_node, True)
            if key in told:
                text = f'"{key}"' if isinstance(key, str) else _key(key)
                self.repeated.append(f"line {value_node.start_mark.line + 1}: key {text} already set in map")
            if id(key_node) in own:
                told.add(key)
        return found

    def construct_yaml_map(self, node: Any) -> Iterator[dict[str, Any]]:
        yield self.construct_mapping(node)

    def construct_unknown(self, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.construct_scalar(node)
        return (
            self.construct_sequence(node)
            if isinstance(node, yaml.SequenceNode)
            else self.construct_mapping(node)
        )

    def construct_binary(self, node: Any) -> str:
        return bytes(self.construct_yaml_binary(node)).decode("utf-8", "replace")

    def construct_finite(self, node: Any) -> float:
        number = float(self.construct_yaml_float(node))
        if not math.isfinite(number):
            raise BadJson(f"json: unsupported value: {go_float(number)}")
        return number


_TAG = "tag:yaml.org,2002:"
for _name in ("map", "set"):
    _Loader.add_constructor(_TAG + _name, _Loader.construct_yaml_map)
for _name in ("omap", "pairs"):
    _Loader.add_constructor(_TAG + _name, _Loader.construct_yaml_seq)
_Loader.add_constructor(f"{_TAG}binary", _Loader.construct_binary)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_finite)
_Loader.add_constructor(None, _Loader.construct_unknown)


def _key(value: Any) -> str:
    """A key as JSON would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _measured(node: Any, within: set[int], known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many nodes a node is when its aliases are written out, and how deep. BadJson for one that contains itself,
    for too many and for too deep ones."""
    if id(node) in within:
        raise BadJson("yaml: an anchor's value contains itself")
    if not isinstance(node, yaml.CollectionNode):
        return 1, 0
    if id(node) not in known:
        within.add(id(node))
        size = height = 0
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                part_size, part_height = _measured(part, within, known)
                size, height = size + part_size, max(height, part_height)
        within.discard(id(node))
        known[id(node)] = size + 1, height + 1
    size, height = known[id(node)]
    if size > _NODES:
        raise BadJson("yaml: document contains excessive aliasing")
    if len(within) + height > MAX_DEPTH:
        raise _too_deep()
    return size, height


def yaml_value(body: bytes) -> Any:
    """The first document of a body, which JSON could say too; BadJson in the words of go-yaml."""
    return read_yaml(body)[0]


def read_yaml(body: bytes) -> tuple[Any, list[str]]:
    """The same, and what go-yaml says of keys that a map has again."""
    try:
        _check_depth(body)
        loader = _Loader(body)
        try:  # of several documents the first, as go-yaml takes them
            if not loader.check_node():
                return None, []
            node = loader.get_node()
            _measured(node, set(), {})
            return _whole_text(loader.construct_document(node)), loader.repeated
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise BadJson(_yaml_error(error, body)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise error if isinstance(error, BadJson) else BadJson(f"yaml: {error}") from None


def _whole_text(value: Any) -> Any:
    """The value with every half of a surrogate pair in its texts replaced."""
    if isinstance(value, str):
        return (
            value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, list):
        return [_whole_text(item) for item in value]
    if isinstance(value, dict):
        return {_whole_text(name): _whole_text(item) for name, item in value.items()}
    return value


def _check_depth(body: bytes) -> None:
    """BadJson for collections that are nested too deep. By events, which come one after the other: making nodes of
    them libyaml calls itself for each level, until the process has no stack left."""
    depth = 0
    for event in yaml.parse(body, Loader=_BASE):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentEndEvent):
            return


def _too_deep() -> BadJson:
    return BadJson(f"yaml: exceeded max depth of {MAX_DEPTH}")


def _yaml_error(error: yaml.MarkedYAMLError, body: bytes) -> str:
    """In the words of go-yaml, which counts lines from 0 except in its scanner, and does not tell line 0."""
    if error.problem == "found undefined alias" and error.problem_mark is not None:
        line = body.decode("utf-8", "replace").splitlines()[error.problem_mark.line]
        return f"yaml: unknown anchor '{line[error.problem_mark.column + 1 :].split()[0]}' referenced"
    marks = [mark.line for mark in (error.context_mark, error.problem_mark) if mark is not None]
    number = next((number for number in marks if number), 0)
    if number and isinstance(error, yaml.scanner.ScannerError):
        number += 1
    return f"yaml: line {number}: {error.problem}" if number else f"yaml: {error.problem}"
