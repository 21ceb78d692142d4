"""One HTTP/1.1 request to a backend over a Duplex, and its answer as it comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

import httptools

from slipway.cluster.exchange import Duplex
from slipway.cluster.status import go_quote

HEAD_LIMIT = 1024 * 1024  # bytes of an answer's head
_SLICE = 64 * 1024  # bytes of a body written at once


class BrokenAnswer(Exception):
    """What came is no HTTP answer; the text is that of Go's client."""


class Conversation:
    """Ask once; then wait for the status, then iterate over the body or, after a 101, take the raw bytes in `rest` and the
    Duplex. Whoever has one closes it."""

    def __init__(self, duplex: Duplex) -> None:
        self.duplex = duplex
        self.headers: list[tuple[str, str]] = []
        self.rest = b""  # what followed the head of a 101
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: deque[bytes] = deque()
        self._head_ended = False
        self._complete = False
        self._writing: asyncio.Task[None] | None = None

    def ask(self, head: bytes, body: bytes = b"") -> None:
        """Begin to send; the answer may come before all is sent."""
        self._writing = asyncio.create_task(self._write(head, body), name="proxied request")

    async def _write(self, head: bytes, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the answer, or its absence, tells more
            await self.duplex.write(head)
            for start in range(0, len(body), _SLICE):
                await self.duplex.write(body[start : start + _SLICE])

    async def status(self) -> int:
        """The status once the head is there; BrokenAnswer."""
        size = 0
        while not self._head_ended:
            data = await self.duplex.read()
            size += len(data)
            if not data:
                raise BrokenAnswer("EOF")
            if size > HEAD_LIMIT:
                raise BrokenAnswer("net/http: HTTP/1.x transport connection broken: header too large")
            self._feed(data)
        return self._parser.get_status_code()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            line = data.split(b"\r\n", 1)[0].decode("latin-1")
            raise BrokenAnswer(
                "net/http: HTTP/1.x transport connection broken: malformed HTTP"
                + (" chunk" if self._head_ended else f" response {go_quote(line[:80])}")
            ) from None

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_ended:
            self.headers.append((name.decode("latin-1"), value.decode("utf-8", "replace")))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200 or self._parser.get_status_code() == 101:
            self._head_ended = True
        else:  # 100 Continue, 103 Early Hints
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        self._complete = self._head_ended

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The body's next bytes; ConnectionError when it breaks off."""
        while not self._chunks:
            if self._complete:
                raise StopAsyncIteration
            data = await self.duplex.read()
            if data:
                try:
                    self._feed(data)
                except BrokenAnswer as error:
                    raise ConnectionResetError(str(error)) from None
            elif {"content-length", "transfer-encoding"} & {name.lower() for name, _ in self.headers}:
                raise ConnectionResetError("the backend hung up before its answer was whole")
            else:
                raise StopAsyncIteration
        return self._chunks.popleft()

    async def aclose(self) -> None:
        """End it, answered or not."""
        if self._writing is not None:
            self._writing.cancel()
        await self.duplex.close()
