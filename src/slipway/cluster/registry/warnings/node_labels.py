"""Labels of nodes that nobody should choose by any more (`deprecated_labels.json`)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

Object = dict[str, Any]


@cache
def deprecated() -> dict[str, str]:
    """What each such label is warned of."""
    data = json.loads((files(__package__) / "deprecated_labels.json").read_text(encoding="utf-8"))
    labels: dict[str, str] = data["labels"]
    return labels


def in_selector(selector: Object | None, path: str) -> list[str]:
    """Of a nodeSelector's labels."""
    known = deprecated()
    return [f"{path}[{label}]: {known[label]}" for label in selector or {} if label in known]


def in_term(term: Object, path: str) -> list[str]:
    """Of a NodeSelectorTerm's expressions."""
    known = deprecated()
    return [
        f"{path}.matchExpressions[{index}].key: {row['key']} is {known[row['key']]}"
        for index, row in enumerate(term.get("matchExpressions") or ())
        if row.get("key") in known
    ]
