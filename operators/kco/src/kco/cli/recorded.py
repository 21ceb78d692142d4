"""Recorded history for the subcommands that read it."""

import os

from kco.cli.main import Misuse
from kco.history.store import Entry, History, HistoryError
from kco.spec.duration import parse_duration
from operator_kit.clock import SystemClock, from_rfc3339


def moment(text: str | None) -> float | None:
    """A time as people give it: RFC 3339, or a length of time before now (`7d`)."""
    if text is None:
        return None
    try:
        return SystemClock().now() - parse_duration(text)
    except ValueError:
        try:
            return from_rfc3339(text)
        except ValueError:
            raise Misuse(
                f"{text!r} is neither a time (2026-01-31T12:00:00Z) nor a length of time (7d)"
            ) from None


async def entries(
    url: str | None, namespace: str, target: str, since: str | None, until: str | None, kinds: tuple[str, ...]
) -> list[Entry]:
    """Rows of one TargetApp from the database that the operator writes."""
    url = url or os.environ.get("KCO_HISTORY_URL") or os.environ.get("HISTORY_URL")
    if not url:
        raise Misuse("no history database: give --url or set KCO_HISTORY_URL")
    history = History(url, clock=SystemClock(), retention=0)
    try:
        await history.open(writing=False)
        rows = history.read(
            namespace=namespace, target=target, since=moment(since), until=moment(until), kinds=kinds
        )
        return [row async for row in rows]
    except HistoryError as failure:
        raise Misuse(str(failure)) from None
    finally:
        await history.close()
