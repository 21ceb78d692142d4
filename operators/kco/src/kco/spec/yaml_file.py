"""YAML files as Kubernetes reads them, and every fault of one in a single line with its place.

Stricter and plainer than PyYAML: a key that stands twice is a fault (the first would be lost without a word), an
unquoted date stays a text, and keys are texts, as they are in JSON.
"""

from pathlib import Path
from typing import Any

import yaml


class Unreadable(Exception):
    """A file that holds no YAML; the text names the file, the line and the fault."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the rules above."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key.start_mark)
            if key.value in seen:
                fault = f"the key {key.value!r} stands here a second time"
                raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
            seen.add(key.value)
        return {_spell(key): value for key, value in super().construct_mapping(node, deep).items()}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_text(path: Path) -> str:
    """The text of a file; Unreadable where there is none."""
    try:
        return path.read_bytes().decode()
    except OSError as failure:
        raise Unreadable(f"{path}: {failure.strerror}") from None
    except UnicodeDecodeError as failure:
        raise Unreadable(f"{path}: not a text file (byte {failure.start} is not UTF-8)") from None


def read_documents(path: Path) -> list[Any]:
    """All documents of a file that are not empty."""
    try:
        return [body for body in yaml.load_all(read_text(path), _Loader) if body is not None]
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark or failure.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Unreadable(f"{path}: not YAML: {place}{failure.problem or failure.context}") from None
    except yaml.reader.ReaderError as failure:
        raise Unreadable(f"{path}: not YAML: character {failure.position}: {failure.reason}") from None
    except RecursionError:
        raise Unreadable(f"{path}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as failure:
        raise Unreadable(f"{path}: not YAML: {str(failure).splitlines()[0]}") from None


def _spell(key: Any) -> str:
    """A key as JSON has it: 1 is "1", true is "true"."""
    return str(key).lower() if isinstance(key, bool) else "null" if key is None else str(key)
