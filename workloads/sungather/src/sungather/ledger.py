"""What the collector must not forget: counters, identity, certificates, the last reading taken, and the history.

One SQLite file in the state folder. A reading and the counters it moved are written in one transaction before any
export sees it; what was taken but not yet handed to every queue when the process died is handed over at the next
start. WAL with synchronous=NORMAL survives the death of the process; the death of the machine may cost the last moment.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sungather.errors import AlreadyRunning, StateFolderError

log = logging.getLogger("sungather.ledger")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS taken (id TEXT PRIMARY KEY, at REAL NOT NULL, payloads TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (at INTEGER PRIMARY KEY, local TEXT NOT NULL, pv REAL, load REAL, grid REAL,
    battery REAL, soc REAL);
CREATE TABLE IF NOT EXISTS days (day TEXT PRIMARY KEY, produced REAL, imported REAL, exported REAL, charged REAL,
    discharged REAL);
"""
SAMPLE = ("pv", "load", "grid", "battery", "soc")
DAY = ("produced", "imported", "exported", "charged", "discharged")


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """A SQLite file ready for use; a damaged one is set aside, never a reason not to start."""
    try:
        return _connect(path, schema)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            raise StateFolderError(path.parent, f"{path.name}: {error}") from error
        aside = path.with_suffix(f".damaged-{os.getpid()}")
        path.rename(aside)
        log.error("%s is damaged (%s): set aside as %s, starting with an empty one", path, error, aside.name)
        for leftover in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            leftover.unlink(missing_ok=True)
        return _connect(path, schema)


def _connect(path: Path, schema: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=5)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA cache_size=-512")
    database.executescript(schema)
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. Some faults, such as a full disk, may have ended the transaction already."""
    database.execute("BEGIN")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


class StateFolder:
    """The folder, created if missing and held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(path / "lock", "a+")  # noqa: SIM115 - held open for as long as the process lives
        except OSError as error:
            raise StateFolderError(path, error.strerror or str(error)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            pid = self._lock.read().strip()
            self._lock.close()
            raise AlreadyRunning(f"state folder {path}", int(pid) if pid.isdigit() else None) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def close(self) -> None:
        self._lock.close()


class Ledger:
    """The collector's memory."""

    def __init__(self, folder: Path) -> None:
        self._db = open_database(folder / "collector.sqlite", _SCHEMA)

    def close(self) -> None:
        self._db.close()

    def fact(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def remember(self, key: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def take(self, id: str, at: float, payloads: Mapping[str, str | None], facts: Mapping[str, Any]) -> None:
        """Write down a reading's payload for each export, with the counters it moved."""
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO taken VALUES (?, ?, ?)", (id, at, json.dumps(payloads)))
            for key, value in facts.items():
                self.remember(key, value)

    def handed_over(self, id: str) -> None:
        """Every queue has it."""
        self._db.execute("DELETE FROM taken WHERE id = ?", (id,))

    def not_handed_over(self) -> list[tuple[str, float, dict[str, str | None]]]:
        rows = self._db.execute("SELECT id, at, payloads FROM taken ORDER BY at").fetchall()
        return [(id, at, json.loads(payloads)) for id, at, payloads in rows]

    def add_sample(
        self, at: float, local: str, values: Mapping[str, float | None], day: Mapping[str, float | None]
    ) -> None:
        """A point of the history, and the day's energy so far. `local` is the local time as text.

        A day's energy falls only around midnight, by the inverter's clock, which may be ahead of this time or behind it:
        what falls late in the day belongs to the next one, what falls early was yesterday's.
        """
        latest = "max(coalesce(excluded.{0}, {0}), coalesce({0}, excluded.{0}))"
        if local[11:13] < "12":
            latest = "coalesce(excluded.{0}, {0})"
        self._db.execute(
            "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)",
            (int(at), local, *(values.get(name) for name in SAMPLE)),
        )
        self._db.execute(
            f"INSERT INTO days VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (day) DO UPDATE SET "
            f"{', '.join(f'{n} = {latest.format(n)}' for n in DAY)}",
            (local[:10], *(day.get(name) for name in DAY)),
        )

    def forget_before(self, at: float, day: str) -> None:
        self._db.execute("DELETE FROM samples WHERE at < ?", (int(at),))
        self._db.execute("DELETE FROM days WHERE day < ?", (day,))

    def samples(self, day: str, minutes: int = 5) -> list[dict[str, Any]]:
        """One day's power, averaged over `minutes`."""
        averages = ", ".join(f"avg({n})" for n in SAMPLE)
        rows = self._db.execute(
            f"SELECT (substr(local, 12, 2) * 60 + substr(local, 15, 2)) / ? * ? AS minute, {averages} "
            "FROM samples WHERE local >= ? AND local < ? GROUP BY minute ORDER BY minute",
            (minutes, minutes, day, day + "T~"),
        )
        return [
            {"minute": int(row[0])}
            | {n: None if v is None else round(v, 1) for n, v in zip(SAMPLE, row[1:], strict=True)}
            for row in rows
        ]

    def days(self, first: str, last: str) -> list[dict[str, Any]]:
        """The energy of each day from first to last, both included."""
        rows = self._db.execute("SELECT * FROM days WHERE day >= ? AND day <= ? ORDER BY day", (first, last))
        return [dict(zip(("day", *DAY), row, strict=True)) for row in rows]
