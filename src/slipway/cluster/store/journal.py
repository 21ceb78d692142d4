"""The store's disk: one SQLite file that holds the present records and the kept changes.

Every transaction of the store is one transaction here, in WAL mode and before anybody hears of it: a process
killed at any moment loses nothing that was acknowledged. (The operating system's own crash may lose the last
moments: `synchronous=NORMAL` does not wait for the disk.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.store.history import Change, Record

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (
    bucket TEXT NOT NULL, key TEXT NOT NULL, created INTEGER NOT NULL, revision INTEGER NOT NULL,
    value BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS change (
    revision INTEGER NOT NULL, bucket TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL,
    created INTEGER NOT NULL, value BLOB NOT NULL,
    previous_revision INTEGER, previous_value BLOB,
    PRIMARY KEY (revision, bucket, key)) WITHOUT ROWID;
"""
FORMAT = 1


class JournalError(Exception):
    """The file cannot be used; the text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class LoadedChange:
    bucket: str
    change: Change


class Journal:
    """`path` is created with mode 0600 if it is missing; its folder must exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # One process at a time: a second one would give revisions out twice.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("COMMIT")
            self._db.executescript(_SCHEMA)
            found = self._meta("format", FORMAT)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(self._explain(error)) from error
        if found != FORMAT:
            raise JournalError(f"{path}: written in format {found}, this version reads format {FORMAT}")
        self._set_meta("format", FORMAT)

    def _explain(self, error: Exception) -> str:
        text = str(error)
        if "locked" in text:
            return f"{self.path}: in use by another process; stop that cluster or choose another state path"
        if "not a database" in text or "malformed" in text:
            return f"{self.path}: not a state file of slipway ({text}); choose another path or remove it"
        return f"{self.path}: cannot be used as a state file: {text}"

    def _meta(self, name: str, default: int) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else int(row[0])

    def _set_meta(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @property
    def revision(self) -> int:
        return self._meta("revision", 0)

    @property
    def compacted(self) -> int:
        return self._meta("compacted", 0)

    def records(self) -> Iterator[tuple[str, Record]]:
        rows = self._db.execute("SELECT bucket, key, created, revision, value FROM record")
        for bucket, key, created, revision, value in rows:
            yield bucket, Record(key, orjson.loads(value), created, revision)

    def changes(self) -> Iterator[LoadedChange]:
        rows = self._db.execute(
            "SELECT revision, bucket, key, kind, created, value, previous_revision, previous_value"
            " FROM change ORDER BY revision"
        )
        for revision, bucket, key, kind, created, value, previous_revision, previous_value in rows:
            record = Record(key, orjson.loads(value), created, revision)
            previous = None
            size = 0 if previous_value is None else len(previous_value)
            if previous_revision is not None:
                previous = Record(key, orjson.loads(previous_value), created, previous_revision)
            yield LoadedChange(bucket, Change(kind, revision, record, previous, size))

    def append(self, revision: int, changes: Iterable[tuple[str, Change]]) -> None:
        """Write one transaction; when this returns it survives the process."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for bucket, change in changes:
                self._append_change(bucket, change)
            self._set_meta("revision", revision)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def _append_change(self, bucket: str, change: Change) -> None:
        record, previous = change.record, change.previous
        value = orjson.dumps(record.value)
        before: tuple[Any, Any] = (None, None)
        if previous is not None:
            before = (previous.revision, orjson.dumps(previous.value))
        self._db.execute(
            "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (change.revision, bucket, record.key, change.kind, record.created, value, *before),
        )
        if change.kind == "DELETED":
            self._db.execute("DELETE FROM record WHERE bucket = ? AND key = ?", (bucket, record.key))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)",
                (bucket, record.key, record.created, record.revision, value),
            )

    def compact(self, revision: int) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM change WHERE revision <= ?", (revision,))
        self._set_meta("compacted", revision)
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()
