"""States and decisions in a database: SQLite in a file, or PostgreSQL, by URL; SQLAlchemy 2, asynchronous.

Only changes are stored (a state that stays the same is one row), with redacted fields blanked. Writing goes
through a bounded queue and in batches, so that a slow database delays no poll; what does not fit is counted
as dropped. Rows older than the retention are deleted hourly.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_kit.clock import Clock
from operator_kit.logging import record

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
BATCH = 500

metadata = MetaData()
_row_id = BigInteger().with_variant(Integer, "sqlite")
observations = Table(
    "kco_observations",
    metadata,
    Column("id", _row_id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("namespace", String(253), nullable=False),
    Column("target", String(253), nullable=False),
    Column("uid", String(64), nullable=False),
    Column("instance", String(512), nullable=False, default=""),
    # "state": what the application said; "down": it said nothing (the error); "decision": what a rule did.
    Column("kind", String(16), nullable=False),
    Column("rule", String(253), nullable=False, default=""),
    Column("body", Text, nullable=False),
    Index("kco_observations_by_target", "namespace", "target", "at"),
    Index("kco_observations_by_time", "at"),
)


class HistoryError(Exception):
    """The database cannot be used; the text says which and why."""


@dataclass(frozen=True)
class Entry:
    """One row."""

    at: float
    namespace: str
    target: str
    uid: str
    instance: str
    kind: str
    body: Any
    rule: str = ""


def asynchronous_url(url: str) -> str:
    """The URL with the asynchronous driver named."""
    for plain, driver in (
        ("sqlite:", "sqlite+aiosqlite:"),
        ("postgresql:", "postgresql+asyncpg:"),
        ("postgres:", "postgresql+asyncpg:"),
    ):
        if url.startswith(plain):
            return driver + url.removeprefix(plain)
    return url


class History:
    """One database. `open` makes its table; `add` never waits."""

    def __init__(self, url: str, *, clock: Clock, retention: float) -> None:
        self._url = url
        self._clock = clock
        self._retention = retention
        self._engine: AsyncEngine | None = None
        self._waiting: asyncio.Queue[Entry] = asyncio.Queue(MAX_WAITING)
        self._writer: asyncio.Task[None] | None = None
        self.dropped = 0
        self.written = 0

    async def open(self, *, writing: bool = True) -> None:
        """Connect. Who writes makes the table where it is missing; who reads makes nothing."""
        try:
            self._engine = create_async_engine(asynchronous_url(self._url), pool_pre_ping=True)
            if not writing:
                _check_file(self._engine.url)
            if self._engine.dialect.name == "sqlite":
                # aiosqlite leaves its thread behind when it cannot open a file; that is found out without it.
                arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
                await asyncio.to_thread(_open_and_close, *arguments, **options)
            async with self._engine.begin() as connection:
                if writing:
                    await connection.run_sync(metadata.create_all)
                elif not await connection.run_sync(_has_table):
                    raise OSError(f"it has no table {observations.name}: has the operator written to it?")
        except (SQLAlchemyError, sqlite3.Error, OSError, ImportError) as failure:
            await self.close()
            raise HistoryError(f"history database {self._shown()}: {_reason(failure)}") from None
        if writing:
            self._writer = asyncio.create_task(self._write(), name="history")

    async def close(self) -> None:
        """Write what waits, then disconnect."""
        if self._writer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._waiting.join()
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    def add(self, entry: Entry) -> None:
        try:
            self._waiting.put_nowait(entry)
        except asyncio.QueueFull:
            self.dropped += 1

    async def flush(self) -> None:
        """Wait until everything added so far is in the database."""
        await self._waiting.join()

    async def read(
        self,
        *,
        namespace: str,
        target: str,
        since: float | None = None,
        until: float | None = None,
        kinds: Sequence[str] = ("state", "down", "decision"),
        limit: int | None = None,
    ) -> AsyncIterator[Entry]:
        """Rows of one TargetApp, oldest first."""
        assert self._engine is not None
        query = select(observations).where(
            observations.c.namespace == namespace,
            observations.c.target == target,
            observations.c.kind.in_(kinds),
        )
        if since is not None:
            query = query.where(observations.c.at >= since)
        if until is not None:
            query = query.where(observations.c.at < until)
        query = query.order_by(observations.c.at, observations.c.id)
        if limit is not None:
            query = query.limit(limit)
        try:
            async with self._engine.connect() as connection:
                async for row in await connection.stream(query):
                    yield _entry(row)
        except (SQLAlchemyError, OSError) as failure:
            raise HistoryError(f"history database {self._shown()}: {_reason(failure)}") from None

    async def prune(self) -> int:
        """Delete what is older than the retention."""
        assert self._engine is not None
        bound = self._clock.now() - self._retention
        async with self._engine.begin() as connection:
            done = await connection.execute(delete(observations).where(observations.c.at < bound))
        return int(done.rowcount or 0)

    async def _write(self) -> None:
        pruned_at = -1e18
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                await self._insist(batch)
                if self._clock.monotonic() - pruned_at > 3600:
                    pruned_at = self._clock.monotonic()
                    with contextlib.suppress(SQLAlchemyError, OSError):
                        await self.prune()
            finally:
                for _ in batch:
                    self._waiting.task_done()

    async def _insist(self, batch: list[Entry]) -> None:
        assert self._engine is not None
        rows = [
            {
                "at": entry.at,
                "namespace": entry.namespace,
                "target": entry.target,
                "uid": entry.uid,
                "instance": entry.instance,
                "kind": entry.kind,
                "rule": entry.rule,
                "body": orjson.dumps(entry.body, default=str).decode(),
            }
            for entry in batch
        ]
        wait = 0.5
        for _ in range(8):
            try:
                async with self._engine.begin() as connection:
                    await connection.execute(insert(observations), rows)
                self.written += len(rows)
                return
            except (SQLAlchemyError, OSError) as failure:
                record(log, logging.WARNING, "history_write_failed", error=_reason(failure)[:200])
                await self._clock.sleep(wait)
                wait = min(wait * 2, 30.0)
        self.dropped += len(rows)

    def _shown(self) -> str:
        scheme, _, rest = self._url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"


def _check_file(url: URL) -> None:
    """sqlite would make a missing file; a reader wants to hear of it."""
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":", "file:")):
        Path(url.database).stat()


def _has_table(connection: Connection) -> bool:
    return bool(inspect(connection).has_table(observations.name))


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        at=row.at,
        namespace=row.namespace,
        target=row.target,
        uid=row.uid,
        instance=row.instance,
        kind=row.kind,
        body=orjson.loads(row.body),
        rule=row.rule,
    )


def _open_and_close(*arguments: Any, **options: Any) -> None:
    sqlite3.connect(*arguments, **options).close()


def _reason(failure: BaseException) -> str:
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    original = getattr(failure, "orig", None)
    return str(original or failure).splitlines()[0] if str(original or failure) else type(failure).__name__
