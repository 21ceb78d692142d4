"""Container logs on disk as CRI writes them, and reading them back.

A line is `<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <text>`; P marks a piece of a line that goes on
in the next one. A full file is renamed to `<attempt>.log.1` and a new one begun.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path

from slipway.cluster.clock import Clock
from slipway.cluster.kubelet import LogOptions

LONGEST_LINE = 16 * 1024  # bytes before a line is cut in pieces, as containerd does
ROTATE_AT = 10 * 1024 * 1024  # kubelet's containerLogMaxSize


class LogWriter:
    """Writes one container's output; `changed` is set at each write and at the end, for followers."""

    def __init__(self, path: Path, clock: Clock, rotate_at: int = ROTATE_AT) -> None:
        self.path = path
        self._clock = clock
        self._rotate_at = rotate_at
        self._pending = {"stdout": b"", "stderr": b""}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: io.FileIO | None = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, stream: str, data: bytes) -> None:
        """Take output as it comes; lines are written when they are whole or too long."""
        if self._file is None:
            return
        *lines, rest = (self._pending[stream] + data).split(b"\n")
        stamp = _stamp(self._clock.now())
        out = []
        for line in lines:
            pieces = _pieces(line)
            out += [_line(stamp, stream, b"P", piece) for piece in pieces[:-1]]
            out.append(_line(stamp, stream, b"F", pieces[-1]))
        while len(rest) >= LONGEST_LINE:
            out.append(_line(stamp, stream, b"P", rest[:LONGEST_LINE]))
            rest = rest[LONGEST_LINE:]
        self._pending[stream] = rest
        self._put(b"".join(out))

    def close(self) -> None:
        """Write what is left without a newline as a piece of a line, as containerd does."""
        for stream, rest in self._pending.items():
            if rest:
                self._put(_line(_stamp(self._clock.now()), stream, b"P", rest))
                self._pending[stream] = b""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put(self, data: bytes) -> None:
        if not data or self._file is None:
            return
        if self._size and self._size + len(data) > self._rotate_at:
            self._file.close()
            self.path.replace(_rotated(self.path))
            self._file = self.path.open("ab", buffering=0)
            self._size = 0
        self._file.write(data)
        self._size += len(data)


def _rotated(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _stamp(seconds: float) -> bytes:
    whole = int(seconds)
    nanoseconds = int((seconds - whole) * 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z".encode()


def _pieces(line: bytes) -> list[bytes]:
    return [line[i : i + LONGEST_LINE] for i in range(0, len(line), LONGEST_LINE)] or [b""]


def _line(stamp: bytes, stream: str, tag: bytes, text: bytes) -> bytes:
    return b"%s %s %s %s\n" % (stamp, stream.encode(), tag, text)


class _Shown:
    """Turns stored lines into what a reader sees, within the limits asked for."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit_bytes

    @property
    def full(self) -> bool:
        return self._left is not None and self._left <= 0

    def show(self, lines: Iterable[bytes]) -> bytes:
        out = []
        for line in lines:
            stamp, _, rest = line.partition(b" ")
            _, _, rest = rest.partition(b" ")
            tag, _, text = rest.partition(b" ")
            if self._options.since is not None and _seconds(stamp) < self._options.since:
                continue
            end = b"\n" if tag == b"F" else b""
            out.append((stamp + b" " if self._options.timestamps else b"") + text + end)
        shown = b"".join(out)
        if self._left is not None:
            shown = shown[: max(0, self._left)]
            self._left -= len(shown)
        return shown


def _seconds(stamp: bytes) -> float:
    text = stamp.decode()
    whole = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
    return whole + float("0." + (text[20:-1] or "0"))


def _tail(lines: list[bytes], count: int) -> list[bytes]:
    """The last `count` whole lines, each with its pieces."""
    kept: list[bytes] = []
    for line in reversed(lines):
        ends = line.split(b" ", 3)[2:3] == [b"F"] or (line and not any(kept))
        if ends:
            if count == 0:
                break
            count -= 1
        kept.append(line)
    return kept[::-1]


async def read_log(path: Path, options: LogOptions, ended: asyncio.Event) -> AsyncIterator[bytes]:
    """The container's log; with `follow` until `ended` is set and everything written was read."""
    shown = _Shown(options)
    data, position, inode = _whole(path)
    *lines, pending = data.split(b"\n")
    if options.tail_lines is not None:
        lines = _tail(lines, options.tail_lines) if options.tail_lines > 0 else []
    text = shown.show(lines)
    if text:
        yield text
    while options.follow and not shown.full:
        last = ended.is_set()
        fresh, position, inode = _fresh(path, position, inode)
        *lines, pending = (pending + fresh).split(b"\n")
        text = shown.show(lines)
        if text:
            yield text
        if last and not fresh:
            return
        if not fresh:
            await _pause(ended)


def _whole(path: Path) -> tuple[bytes, int, int]:
    """Everything there is, the position reached in the newest file, and which file that is."""
    old = _rotated(path)
    before = old.read_bytes() if old.exists() else b""
    data = path.read_bytes()
    return before + data, len(data), path.stat().st_ino


def _fresh(path: Path, position: int, inode: int) -> tuple[bytes, int, int]:
    """What was appended since `position`, also across a rotation."""
    now = path.stat().st_ino
    data = b""
    if now != inode:
        with _rotated(path).open("rb") as file:
            file.seek(position)
            data = file.read()
        position = 0
    with path.open("rb") as file:
        file.seek(position)
        fresh = file.read()
    return data + fresh, position + len(fresh), now


async def _pause(ended: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(0.05):
            await ended.wait()
    except TimeoutError:
        return
