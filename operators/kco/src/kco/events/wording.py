"""The sentences of Events about changes, in a fixed order, with redacted fields left out."""

from typing import Any

from kco.events.severity import severity
from kco.spec.path import FieldPath, covers, parse_path
from kco.spec.targetapp import EventRules
from kco.state.diff import Change
from kco.state.value import show

MAX_MESSAGE = 1024
REDACTED = "[redacted]"


def cut(message: str, limit: int = MAX_MESSAGE) -> str:
    """At most `limit` bytes of UTF-8, never half a character."""
    raw = message.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode("utf-8", "replace")
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"


def change_events(changes: list[Change], rules: EventRules, *, instance: str = "") -> list[tuple[str, str]]:
    """(type, message) for each change that is to be told."""
    ignored = [parse_path(text) for text in rules.ignore]
    hidden = [parse_path(text) for text in rules.redact]
    told = []
    for change in changes:
        if any(covers(path, change.path) for path in ignored):
            continue
        old = spell(change.path, change.old, hidden)
        new = spell(change.path, change.new, hidden)
        where = f" (pod {instance.rpartition('.')[0] or instance})" if instance else ""
        told.append((severity(change, rules.severity), f"{change.field}: {old} → {new}{where}"))
    return told


def spell(path: FieldPath, value: Any, hidden: list[FieldPath]) -> str:
    """A value for people, unless it, or something in it, is on the redaction list."""
    if any(covers(secret, path) for secret in hidden):
        return REDACTED
    return show(mask(value, path, hidden))


def mask(value: Any, path: FieldPath, hidden: list[FieldPath]) -> Any:
    """The value with every redacted field below it blanked."""
    if any(covers(secret, path) for secret in hidden):
        return REDACTED
    if isinstance(value, dict):
        return {key: mask(item, (*path, key), hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [mask(item, (*path, at), hidden) for at, item in enumerate(value)]
    return value
