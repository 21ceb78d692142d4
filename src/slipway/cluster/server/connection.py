"""One HTTP/1.1 connection: bytes in, `Request` to the handler, `Response` out, in the order of the requests.

The parser is httptools (llhttp). A streamed body is advanced only as fast as the peer reads it, and is closed as
soon as the peer is gone. After an upgrade the connection is a `Duplex` for whoever asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections import deque
from collections.abc import AsyncIterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import httptools
import orjson

from slipway.cluster.exchange import Handler, Peer, Request, Response
from slipway.cluster.status import StatusError

log = logging.getLogger(__name__)

# As the API server limits resource requests; etcd refuses more than half of it.
MAX_BODY = 3 * 1024 * 1024
# Go's http.Server default.
MAX_HEADERS = 1024 * 1024
MAX_WAITING = 16  # pipelined requests before we stop reading
GZIP_FROM = 128 * 1024
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"


class Connection(asyncio.Protocol):
    """`serving` is the set of open connections, which the listener closes at its end."""

    def __init__(self, handler: Handler, serving: set[Connection]) -> None:
        self._handler = handler
        self._serving = serving
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._peer = Peer()
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._stream: _Stream | None = None
        self._reading = True
        self._finished = False  # no more requests are taken
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refusal: StatusError | None = None

    # Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        address = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self._peer = Peer(address[0] if isinstance(address, tuple) else "", certificate)
        self._serving.add(self)
        self._worker = self._loop.create_task(self._work())

    def connection_lost(self, error: Exception | None) -> None:
        self._serving.discard(self)
        if self._stream is not None:
            self._stream.feed(b"")
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(ConnectionResetError("the peer is gone"))
            self._writable.exception()
        if self._worker is not None:
            self._worker.cancel()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    async def drain(self) -> None:
        """Wait while the peer does not keep up."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def data_received(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.feed(data)
            return
        if self._finished:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # What follows the request belongs to the new protocol.
            self._finished = True
            self._stream = _Stream(self)
            rest = data[upgrade.args[0] :]
            if rest:
                self._stream.feed(rest)
        except httptools.HttpParserError as error:
            self._refuse(StatusError(400, "BadRequest", f"malformed HTTP request: {error}"))

    def eof_received(self) -> bool:
        if self._stream is not None:
            self._stream.feed(b"")
            return True
        return False

    # Parser

    def on_message_begin(self) -> None:
        self._url, self._headers, self._header_bytes = b"", {}, 0
        self._body, self._body_bytes = [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADERS:
            raise httptools.HttpParserError("header fields too large")
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        before = self._headers.get(key)
        self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > MAX_BODY:
            self._refuse(_too_large())
        elif self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY:
            self._refuse(_too_large())
        elif self._refusal is None:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refusal is not None:
            return
        path, _, query = self._url.partition(b"?")
        request = Request(
            self._parser.get_method().decode(),
            path.decode("latin-1"),
            query.decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._peer,
        )
        self._enqueue(request, bool(self._parser.should_keep_alive()))

    def _enqueue(self, request: Request, keep_alive: bool) -> None:
        self._waiting.append((request, keep_alive))
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        if len(self._waiting) > MAX_WAITING and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _refuse(self, error: StatusError) -> None:
        """Answer what came before, then this, then close: the rest of the bytes cannot be understood."""
        if self._refusal is not None:
            return
        self._refusal = error
        self._finished = True
        self._enqueue(Request("", ""), keep_alive=False)

    # Answering

    async def _work(self) -> None:
        transport = self._transport
        assert transport is not None
        try:
            while True:
                while not self._waiting:
                    self._arrival = self._loop.create_future()
                    await self._arrival
                request, keep_alive = self._waiting.popleft()
                if not self._reading and len(self._waiting) <= MAX_WAITING // 2:
                    self._reading = True
                    transport.resume_reading()
                if request.method:
                    response = await self._answer(request)
                else:
                    assert self._refusal is not None
                    response = _status(self._refusal)
                if response.upgrade is not None and self._stream is not None:
                    await self._hand_over(response)
                    return
                keep_alive = keep_alive and self._stream is None
                await self._send(request, response, keep_alive)
                if not keep_alive:
                    return
        except ConnectionError:
            pass
        finally:
            transport.close()

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except StatusError as error:
            return _status(error)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            text = f"{type(error).__name__}: {error}"
            return _status(StatusError(500, "InternalError", f"Internal error occurred: {text}"))

    async def _send(self, request: Request, response: Response, keep_alive: bool) -> None:
        transport = self._transport
        assert transport is not None
        body = response.body
        if isinstance(body, bytes):
            if len(body) > GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
                body = gzip.compress(body, 1)
                response.headers["content-encoding"] = "gzip"
            head = _head(response, keep_alive, b"content-length: %d\r\n" % len(body))
            transport.write(head if request.method == "HEAD" else head + body)
            if self._writable is not None:
                await self.drain()
            return
        transport.write(_head(response, keep_alive, b"transfer-encoding: chunked\r\n"))
        await self._send_stream(body)

    async def _send_stream(self, body: AsyncIterator[bytes]) -> None:
        transport = self._transport
        assert transport is not None
        try:
            async for chunk in body:
                if chunk:
                    transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if self._writable is not None:
                    await self.drain()
                if transport.is_closing():
                    raise ConnectionResetError("the peer is gone")
            transport.write(b"0\r\n\r\n")
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            # The head is out: all that is left is to cut the stream, which the client sees as an error.
            log.exception("a streamed answer failed")
            transport.abort()
            raise ConnectionResetError("a streamed answer failed") from None
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                with contextlib.suppress(RuntimeError):
                    await close()

    async def _hand_over(self, response: Response) -> None:
        transport, stream = self._transport, self._stream
        assert transport is not None
        assert stream is not None
        assert response.upgrade is not None
        lines = [
            b"%b: %b\r\n" % (k.encode("latin-1"), v.encode("latin-1")) for k, v in response.headers.items()
        ]
        transport.write(_SWITCHING + b"".join(lines) + b"\r\n")
        try:
            await response.upgrade(stream)
        except ConnectionError:
            pass
        except Exception:
            log.exception("an upgraded connection failed")

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the peer is gone")
        self._transport.write(data)

    def shut(self) -> None:
        """Close now: idle connections at once, busy ones by ending what they do."""
        if self._worker is not None:
            self._worker.cancel()
        if self._transport is not None:
            self._transport.close()

    @property
    def worker(self) -> asyncio.Task[None] | None:
        return self._worker


class _Stream:
    """The connection after an upgrade (`exchange.Duplex`). Reading is paused while nobody takes what came."""

    LIMIT = 1024 * 1024

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._arrival: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        if data:
            self._chunks.append(data)
            self._size += len(data)
            if self._size > self.LIMIT and self._connection._transport is not None:
                self._connection._transport.pause_reading()
        else:
            self._ended = True
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def read(self) -> bytes:
        while not self._chunks:
            if self._ended:
                return b""
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        transport = self._connection._transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        self._connection.write(data)
        await self._connection.drain()

    async def close(self) -> None:
        if self._connection._transport is not None:
            self._connection._transport.close()


_date: tuple[int, bytes] = (0, b"")


def _now(loop_time: float) -> bytes:
    """The Date header, made once a second."""
    global _date
    second = int(loop_time)
    if _date[0] != second:
        _date = (second, formatdate(usegmt=True).encode())
    return _date[1]


def _head(response: Response, keep_alive: bool, framing: bytes) -> bytes:
    status = response.status
    parts: list[Any] = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Unknown"))]
    for name, value in response.headers.items():
        parts.append(f"{name}: {value}\r\n".encode("latin-1", "replace"))
    parts.append(b"cache-control: no-cache, private\r\n")
    parts.append(b"date: %b\r\n" % _now(asyncio.get_running_loop().time()))
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    parts.append(framing)
    parts.append(b"\r\n")
    return b"".join(parts)


def _status(error: StatusError) -> Response:
    headers = {"content-type": "application/json", **error.headers}
    return Response(error.code, headers, orjson.dumps(error.to_object()))


def _too_large() -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}", {})
