"""One JSON object per line on standard output (or plain text), with fields that follow a piece of work.

`fields(correlation_id=..., tapp=...)` puts fields on every record made inside the `with` block, across
awaits. A record's own fields come from `extra={"fields": {...}}`; `record(logger, level, action, **fields)`
is the short form. Values pass through the redaction that `configure` was given before they are written.
"""

import contextlib
import contextvars
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TextIO

import orjson

_NONE: Mapping[str, Any] = MappingProxyType({})
_fields: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("log_fields", default=_NONE)

Redaction = Callable[[str], str]


@contextlib.contextmanager
def fields(**values: Any) -> Iterator[None]:
    """Add these fields to every record made inside the block."""
    token = _fields.set({**_fields.get(), **values})
    try:
        yield
    finally:
        _fields.reset(token)


def current_fields() -> Mapping[str, Any]:
    """The fields in force here, to hand to work that goes on elsewhere (a queue, a task)."""
    return _fields.get()


def record(logger: logging.Logger, level: int, action: str, message: str = "", **values: Any) -> None:
    """Log one thing that happened: `action` is a fixed word to search for, the rest are its fields."""
    if logger.isEnabledFor(level):
        logger.log(level, message or action, extra={"fields": {"action": action, **values}})


class JsonFormatter(logging.Formatter):
    """timestamp, level, operator, logger, message, then the fields of the work and of the record."""

    def __init__(self, operator: str, redact: Redaction) -> None:
        super().__init__()
        self._operator = operator
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        moment = time.gmtime(record.created)
        line: dict[str, Any] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "operator": self._operator,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Redaction works on the finished line: nothing that a field or a traceback holds can slip past it.
        return self._redact(orjson.dumps(line, default=str).decode())


class PlainFormatter(logging.Formatter):
    """time level logger: message key=value …"""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        pairs = {**_fields.get(), **getattr(record, "fields", {})}
        tail = "".join(f" {key}={value}" for key, value in pairs.items())
        line = f"{moment} {record.levelname} {record.name}: {record.getMessage()}{tail}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return self._redact(line)


def configure(
    *, operator: str, level: str, style: str, redact: Redaction = str, stream: TextIO | None = None
) -> None:
    """Make the root logger write each record once, in one style, to one stream."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(operator, redact) if style == "json" else PlainFormatter(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Libraries that narrate each request at INFO would break "a quiet poll logs nothing".
    for name in ("aiohttp.access", "gql", "kopf", "asyncio", "sqlalchemy", "aiosqlite", "websockets"):
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.propagate = True
        library.setLevel(max(logging.WARNING, logging.getLevelName(level)))
