"""Where the handlers of the operators beside this file write down what they saw: one JSON line a note."""

import json
import os
from typing import Any


def note(what: str, **facts: Any) -> None:
    line = json.dumps({"what": what, **facts}, default=_plain) + "\n"
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())  # one write: handlers in threads do not mix their lines
    finally:
        os.close(descriptor)


def _plain(value: Any) -> Any:
    """kopf's views of objects are mappings and sequences, but no dicts and lists."""
    if hasattr(value, "keys"):
        return {key: value[key] for key in value}
    return list(value) if hasattr(value, "__iter__") else str(value)
