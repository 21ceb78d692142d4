"""Bodies in YAML, both ways. Imported when a request brings or wants one: a cluster starts without YAML."""

from __future__ import annotations

from typing import Any

import yaml

from slipway.cluster.schema.json_bodies import BadJson

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_bytes(value: Any) -> bytes:
    """A document as YAML."""
    text: bytes = yaml.dump(
        value, Dumper=_DUMPER, default_flow_style=False, allow_unicode=True, encoding="utf-8"
    )
    return text


def yaml_value(body: bytes) -> Any:
    """The first document of a body; BadJson in the words of go-yaml."""
    try:  # of several documents the first, as go-yaml takes them
        return next(iter(yaml.load_all(body, _LOADER)), None)
    except yaml.MarkedYAMLError as error:
        raise BadJson(_yaml_error(error, body)) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadJson(f"yaml: {error}") from None


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
