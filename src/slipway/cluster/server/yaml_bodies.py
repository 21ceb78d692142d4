"""Bodies in YAML, both ways. Imported when a request brings or wants one: a cluster starts without YAML."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml

from slipway.cluster.schema.json_bodies import BadJson, RepeatedMembers, whole_text
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
    """Reads what JSON can say: dates stay texts, tags of other languages mean nothing, and repeated keys are kept."""

    yaml_implicit_resolvers: ClassVar[Any] = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in _BASE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        pairs = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadJson("yaml: invalid map key: only a text can name a value")
            pairs.append((_key(self.construct_object(key_node)), self.construct_object(value_node, True)))
        plain = dict(pairs)
        return plain if len(plain) == len(pairs) else RepeatedMembers(pairs)

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


def _checked(node: Any, within: set[int], sizes: dict[int, int]) -> int:
    """How many nodes a node is when its aliases are written out; BadJson for one that contains itself, or too many."""
    if id(node) in within:
        raise BadJson("yaml: an anchor's value contains itself")
    known = sizes.get(id(node))
    if known is None:
        within.add(id(node))
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
        known = sizes[id(node)] = 1 + sum(_checked(part, within, sizes) for part in parts)
        within.discard(id(node))
    if known > _NODES:
        raise BadJson("yaml: document contains excessive aliasing")
    return known


def yaml_value(body: bytes) -> Any:
    """The first document of a body, which JSON could say too; BadJson in the words of go-yaml."""
    loader = _Loader(body)
    try:  # of several documents the first, as go-yaml takes them
        if not loader.check_node():
            return None
        node = loader.get_node()
        _checked(node, set(), {})
        return whole_text(loader.construct_document(node))
    except yaml.MarkedYAMLError as error:
        raise BadJson(_yaml_error(error, body)) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise error if isinstance(error, BadJson) else BadJson(f"yaml: {error}") from None
    finally:
        loader.dispose()


def repeated_keys(body: bytes) -> list[str]:
    """What go-yaml says of keys that a map of the first document has again, inner maps before outer ones."""
    loader = _Loader(body)
    try:
        node = loader.get_node() if loader.check_node() else None
        return list(_repeated(loader, node)) if node is not None else []
    finally:
        loader.dispose()


def _repeated(loader: _Loader, node: Any) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(loader, item)
    elif isinstance(node, yaml.MappingNode):
        known = set()
        for key_node, value_node in node.value:
            yield from _repeated(loader, value_node)
            key = loader.construct_object(key_node)
            if key in known:
                text = f'"{key}"' if isinstance(key, str) else _key(key)
                yield f"line {value_node.start_mark.line + 1}: key {text} already set in map"
            known.add(key)


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
