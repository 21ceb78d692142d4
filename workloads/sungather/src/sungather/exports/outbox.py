"""A destination's queue on disk: bounded, in order, each item under a stable key.

What was sent is kept for a while, marked, so that it can be sent again on request and so that a key is never queued
twice. When the bounds are reached the oldest unsent item is dropped and counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from sungather.exports.destination import Item
from sungather.ledger import open_database, transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, at REAL NOT NULL,
    payload TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS waiting ON items (sent, seq);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_KEPT_SENT = 5000


class Outbox:
    """The queue of one export."""

    def __init__(self, folder: Path, name: str, *, max_items: int, max_bytes: int) -> None:
        self._db = open_database(folder / f"outbox-{name}.sqlite", _SCHEMA)
        self._max_items, self._max_bytes = max_items, max_bytes
        self._kept_sent = min(_KEPT_SENT, max(1, max_items // 4))
        self.waiting = self._bytes = self._sent_rows = 0
        self._take_stock()
        self.counts: dict[str, int] = {"sent": 0, "dropped": 0, "rejected": 0, "failures": 0}
        self.counts.update(dict(self._db.execute("SELECT name, value FROM counts")))

    def _take_stock(self) -> None:
        """Count what the file has; afterwards every change is counted along."""
        row = self._db.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM items WHERE sent = 0"
        ).fetchone()
        self.waiting, self._bytes = int(row[0]), int(row[1])
        self._sent_rows = int(self._db.execute("SELECT count(*) FROM items WHERE sent = 1").fetchone()[0])

    def close(self) -> None:
        self._db.close()

    def add(self, key: str, at: float, payload: str) -> bool:
        """Queue an item; False when its key was queued before."""
        try:
            self._db.execute("INSERT INTO items (key, at, payload) VALUES (?, ?, ?)", (key, at, payload))
        except sqlite3.IntegrityError:
            return False
        self.waiting += 1
        self._bytes += len(payload)
        if self.waiting > self._max_items or self._bytes > self._max_bytes:
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        while self.waiting > 1 and (self.waiting > self._max_items or self._bytes > self._max_bytes):
            seq, size = self._db.execute(
                "SELECT seq, length(payload) FROM items WHERE sent = 0 ORDER BY seq LIMIT 1"
            ).fetchone()
            self._db.execute("DELETE FROM items WHERE seq = ?", (seq,))
            self.waiting -= 1
            self._bytes -= size
            self.count("dropped")

    def peek(self, limit: int) -> list[Item]:
        """The oldest unsent items."""
        rows = self._db.execute(
            "SELECT seq, key, at, payload FROM items WHERE sent = 0 ORDER BY seq LIMIT ?", (limit,)
        )
        return [Item(*row) for row in rows]

    def done(self, sent: Iterable[Item], rejected: Iterable[Item] = ()) -> None:
        """Take items out of the queue: sent ones are kept for a while, rejected ones are gone."""
        sent, rejected = list(sent), list(rejected)
        try:
            with transaction(self._db):
                self._move(sent, rejected)
        except BaseException:
            self._take_stock()
            raise
        self.count("sent", len(sent))
        self.count("rejected", len(rejected))

    def _move(self, sent: list[Item], rejected: list[Item]) -> None:
        for item in sent:
            moved = self._db.execute(
                "UPDATE items SET sent = 1 WHERE seq = ? AND sent = 0", (item.seq,)
            ).rowcount
            self._sent_rows += moved
            self._left(item, moved)
        for item in rejected:
            self._left(
                item, self._db.execute("DELETE FROM items WHERE seq = ? AND sent = 0", (item.seq,)).rowcount
            )
        surplus = self._sent_rows - self._kept_sent
        if surplus > self._kept_sent // 10:
            self._db.execute(
                "DELETE FROM items WHERE seq IN (SELECT seq FROM items WHERE sent = 1 ORDER BY seq LIMIT ?)",
                (surplus,),
            )
            self._sent_rows -= surplus

    def _left(self, item: Item, rows: int) -> None:
        """Items that were dropped by the bounds meanwhile have left already."""
        if rows:
            self.waiting -= 1
            self._bytes -= len(item.payload)

    def count(self, name: str, by: int = 1) -> None:
        if by:
            self.counts[name] = self.counts.get(name, 0) + by
            self._db.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, self.counts[name]))

    def replay(self, since: float) -> int:
        """Queue again what was sent and taken since then; how many."""
        rows = self._db.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM items WHERE sent = 1 AND at >= ?",
            (since,),
        ).fetchone()
        self._db.execute("UPDATE items SET sent = 0 WHERE sent = 1 AND at >= ?", (since,))
        self.waiting += int(rows[0])
        self._bytes += int(rows[1])
        self._sent_rows -= int(rows[0])
        return int(rows[0])

    def oldest(self) -> float | None:
        """When the oldest waiting item was taken."""
        row = self._db.execute("SELECT at FROM items WHERE sent = 0 ORDER BY seq LIMIT 1").fetchone()
        return float(row[0]) if row else None
