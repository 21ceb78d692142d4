"""Sets of fields, as managedFields keep them: `FieldSet`, and its JSON form FieldsV1.

A path element is written as FieldsV1 writes it: `f:name` a field, `k:{"name":"a"}` a list item by its keys,
`v:"x"` a list item by its value, `i:0` an index. In a set of fields, an element can be a member (the field or
item itself is in the set) and can have children (something in it is). Order and spelling follow
sigs.k8s.io/structured-merge-diff `fieldpath` v6 (facts only). Sets are values: nothing changes one once it is
made, but for `FieldSet.insert` while it is being built.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cmp_to_key, lru_cache
from typing import Any

from slipway.cluster.schema.json_bodies import parse_json

Path = tuple[str, ...]
_ELEMENTS = (
    20_000  # whose spelling and place in the order are kept at hand: uids and names make ever new ones
)


class FieldSet:
    """A set of paths. `members` are its paths of length one, `children` the sets below an element."""

    __slots__ = ("children", "members")

    def __init__(self, members: Iterable[str] = (), children: dict[str, FieldSet] | None = None) -> None:
        self.members: set[str] = set(members)
        self.children: dict[str, FieldSet] = children or {}

    @classmethod
    def of(cls, *paths: Path) -> FieldSet:
        made = cls()
        for path in paths:
            made.insert(path)
        return made

    def insert(self, path: Path) -> None:
        """Add one path; the empty one stands for the whole object, which nobody owns."""
        if not path:
            return
        node = self
        for element in path[:-1]:
            child = node.children.get(element)
            if child is None:
                child = node.children[element] = FieldSet()
            node = child
        node.members.add(path[-1])

    def __bool__(self) -> bool:
        return bool(self.members) or any(self.children.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FieldSet):
            return NotImplemented
        mine = {element: child for element, child in self.children.items() if child}
        theirs = {element: child for element, child in other.children.items() if child}
        return self.members == other.members and mine == theirs

    __hash__ = None  # type: ignore[assignment]  # it can still be inserted into

    def __repr__(self) -> str:
        return f"FieldSet({', '.join(text_of(path) for path in self)})"

    def __contains__(self, path: Path) -> bool:
        node = self
        for element in path[:-1]:
            if element not in node.children:
                return False
            node = node.children[element]
        return bool(path) and path[-1] in node.members

    def __iter__(self) -> Iterator[Path]:
        """Every path: the members of a node first, then what is below, each in canonical order."""
        return self._walk(())

    def _walk(self, prefix: Path) -> Iterator[Path]:
        for element in sorted(self.members, key=_order):
            yield (*prefix, element)
        for element in sorted(self.children, key=_order):
            yield from self.children[element]._walk((*prefix, element))

    def below(self, element: str) -> FieldSet:
        """The paths that go through this element, without it."""
        return self.children.get(element) or FieldSet()

    def __or__(self, other: FieldSet) -> FieldSet:
        children = dict(self.children)
        for element, child in other.children.items():
            children[element] = children[element] | child if element in children else child
        return FieldSet(self.members | other.members, children)

    def __and__(self, other: FieldSet) -> FieldSet:
        children = {
            element: child & other.children[element]
            for element, child in self.children.items()
            if element in other.children
        }
        return FieldSet(self.members & other.members, _filled(children))

    def __sub__(self, other: FieldSet) -> FieldSet:
        """Without the other's paths; what is below one of them stays."""
        if not other.children:
            return FieldSet(self.members - other.members, self.children)
        children = {
            element: child - other.children[element] if element in other.children else child
            for element, child in self.children.items()
        }
        return FieldSet(self.members - other.members, _filled(children))

    def without_all_of(self, other: FieldSet) -> FieldSet:
        """Without the other's paths and whatever is below them."""
        children = {
            element: child.without_all_of(other.children[element]) if element in other.children else child
            for element, child in self.children.items()
            if element not in other.members
        }
        return FieldSet(self.members - other.members, _filled(children))

    def to_json(self) -> dict[str, Any]:
        """FieldsV1."""
        fields: dict[str, Any] = {}
        for element in sorted(self.members | self.children.keys(), key=_order):
            child = self.children.get(element)
            if child is None:
                fields[element] = {}
            else:
                inner = child.to_json()
                fields[element] = {".": {}, **inner} if element in self.members and inner else inner
        return fields

    @classmethod
    def from_json(cls, fields: Any) -> FieldSet:
        """Read FieldsV1. ValueError says which key is none; elements of a kind not known here are dropped."""
        found, _ = _read(fields)
        return found or cls()


def _filled(children: dict[str, FieldSet]) -> dict[str, FieldSet]:
    return {element: child for element, child in children.items() if child}


def _read(fields: Any) -> tuple[FieldSet | None, bool]:
    """What is below an element, if anything is, and whether the element itself is a member."""
    if fields is None:
        return None, True
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, got {json.dumps(fields)[:80]}")
    members: set[str] = set()
    children: dict[str, FieldSet] = {}
    is_member = False
    for key, value in fields.items():
        if key == ".":
            is_member = True
            continue
        element = _canonical(key)
        if element is None:
            continue
        child, child_is_member = _read(value)
        if child_is_member:
            members.add(element)
        if child is not None:
            children[element] = child
    if not members and not children:
        return None, True
    return FieldSet(members, children), is_member


@lru_cache(_ELEMENTS)
def _canonical(key: str) -> str | None:
    """A key of FieldsV1 in canonical spelling; None for an element of unknown kind."""
    if len(key) < 2:
        raise ValueError(f"key must be 2 characters long: {key!r}")
    kind, colon, content = key[0], key[1], key[2:]
    if colon != ":":
        raise ValueError(f"missing colon: {key}")
    if kind == "f":
        return key
    try:
        if kind == "i":
            return f"i:{int(content)}"
        if kind == "v":
            return value_element(parse_json(content.encode()))
        if kind == "k":
            keys = parse_json(content.encode())
            if not isinstance(keys, dict):
                raise ValueError("not an object")
            return key_element(keys)
    except ValueError as error:
        raise ValueError(f"parsing key as path element: {key}: {error}") from None
    return None


# Elements


def field_element(name: str) -> str:
    return f"f:{name}"


def key_element(keys: dict[str, Any]) -> str:
    return "k:" + _json({name: keys[name] for name in sorted(keys)})


def value_element(value: Any) -> str:
    return "v:" + _json(value)


def field_path(*names: str) -> Path:
    """The path of fields with these names."""
    return tuple(f"f:{name}" for name in names)


_HTML = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def _json(value: Any) -> str:
    """Compact JSON as Go writes it: no ASCII escapes but for HTML's characters; whole floats as integers."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, dict):
        value = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in value.items()}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).translate(_HTML)


def text_of(path: Path) -> str:
    """A path as conflicts show it: `.spec.ports[port=80,protocol="TCP"].name`."""
    return "".join(element_text(element) for element in path)


def element_text(element: str) -> str:
    kind, content = element[0], element[2:]
    if kind == "f":
        return f".{content}"
    if kind == "k":
        keys = json.loads(content)
        return "[" + ",".join(f"{name}={_shown(keys[name])}" for name in keys) + "]"
    return f"[={_shown(json.loads(content))}]" if kind == "v" else f"[{content}]"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# Order: fields, then keys, then values, then indices


@lru_cache(_ELEMENTS)
def _order(element: str) -> Any:
    kind, content = element[0], element[2:]
    if kind == "f":
        return (0, content.encode())
    if kind == "k":
        return (1, tuple((name, _by_value(value)) for name, value in json.loads(content).items()))
    if kind == "v":
        return (2, _by_value(json.loads(content)))
    return (3, int(content))


def _compare(left: Any, right: Any) -> int:
    """value.Compare: numbers, strings, booleans, lists, maps, null."""
    ranks = _rank(left), _rank(right)
    if ranks[0] != ranks[1]:
        return -1 if ranks[0] < ranks[1] else 1
    if ranks[0] in (0, 1, 2):
        return int(left > right) - int(left < right)
    texts = _json(left), _json(right)
    return int(texts[0] > texts[1]) - int(texts[0] < texts[1])


def _rank(value: Any) -> int:
    if isinstance(value, bool):
        return 2
    if isinstance(value, int | float):
        return 0
    if isinstance(value, str):
        return 1
    return 3 if isinstance(value, list) else 4 if isinstance(value, dict) else 5


_by_value: Callable[[Any], Any] = cmp_to_key(_compare)
