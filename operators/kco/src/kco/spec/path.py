"""Paths into a state: `application.health`, `nodes[0].name`, `nodes[*].status`, `@endpoint.up`.

A path is a tuple of names, list positions and `*` (every element of a list or every value of an object).
The part `@endpoint` holds what KCO itself knows about the endpoint; GraphQL names cannot begin with `@`.
"""

import re
from functools import lru_cache

Step = str | int
FieldPath = tuple[Step, ...]

WILDCARD = "*"
ENDPOINT = "@endpoint"

_STEP = re.compile(r"(@?[A-Za-z_][A-Za-z0-9_]*|\d+|\*)|\[(\d+|\*)\]")


@lru_cache(maxsize=4096)
def parse_path(text: str) -> FieldPath:
    """The steps of a written path; ValueError says at which character it stops being one."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if steps and text[at] == ".":
            at += 1
            if at < len(text) and text[at] == "[":
                raise ValueError(f"path {text[:80]!r}: unexpected '[' after '.' at character {at + 1}")
        elif steps and text[at] != "[":
            raise ValueError(f"path {text[:80]!r}: expected '.' or '[' at character {at + 1}")
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(f"path {text[:80]!r}: expected a field name at character {at + 1}")
        word = found.group(1) or found.group(2)
        steps.append(int(word) if word.isdigit() else word)
        at = found.end()
    if not steps:
        raise ValueError("path is empty")
    return tuple(steps)


def spell_path(path: FieldPath) -> str:
    """A path as people write it."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def covers(pattern: FieldPath, path: FieldPath) -> bool:
    """Whether `path` is `pattern` or lies below it."""
    if len(path) < len(pattern):
        return False
    return all(mine in (WILDCARD, theirs) for mine, theirs in zip(pattern, path, strict=False))
