"""Container logs on disk, in the line format of CRI: `time stream F|P content`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from slipway.cluster.clock import Clock, parse_timestamp
from slipway.cluster.kubelet import LogOptions

POLL = 0.05  # seconds between looks at a file that is followed
MAX_LINE = 16 * 1024  # longer lines are split, as containerd does


class LogWriter:
    """Takes a container's output as it comes and writes whole lines with the time at which they ended."""

    def __init__(self, path: Path, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._clock = clock
        self._rest = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        written = [self._line(stream, b"F", line) for line in lines]
        while len(rest) > MAX_LINE:
            written.append(self._line(stream, b"P", rest[:MAX_LINE]))
            rest = rest[MAX_LINE:]
        self._rest[stream] = rest
        if written:
            self._file.write(b"".join(written))

    def _line(self, stream: str, tag: bytes, content: bytes) -> bytes:
        stamp = self._clock.micro_timestamp().replace("Z", "000Z").encode()
        return b"%b %b %b %b\n" % (stamp, stream.encode(), tag, content)

    def close(self) -> None:
        for stream, rest in self._rest.items():
            if rest:
                self._file.write(self._line(stream, b"F", rest))
                self._rest[stream] = b""
        self._file.close()


def _shown(line: bytes, timestamps: bool) -> bytes:
    stamp, _, tag, content = (*line.split(b" ", 3), b"", b"", b"")[:4]
    text = content if tag == b"P" else content + b"\n"
    return stamp + b" " + text if timestamps else text


def _since(line: bytes, moment: float) -> bool:
    try:
        return parse_timestamp(line.split(b" ", 1)[0].decode()[:26] + "Z") >= moment
    except ValueError:
        return True


async def read(path: Path, options: LogOptions, alive: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The chosen lines; while following, until the container is not `alive` and all has been read."""
    budget = options.limit_bytes
    position, rest = 0, b""
    first = True
    while True:
        going = alive()
        chunk = _read_from(path, position)
        position += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        if options.since is not None:
            lines = [line for line in lines if _since(line, options.since)]
        if first and options.tail_lines is not None:
            lines = lines[-options.tail_lines :] if options.tail_lines else []
        first = False
        out = b"".join(_shown(line, options.timestamps) for line in lines if line)
        if budget is not None:
            out = out[:budget]
            budget -= len(out)
        if out:
            yield out
        if budget == 0 or not options.follow or (not going and not chunk):
            return
        if not chunk:
            await asyncio.sleep(POLL)


def _read_from(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read()
    except FileNotFoundError:
        return b""
