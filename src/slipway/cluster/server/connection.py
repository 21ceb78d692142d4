"""One HTTP/1.1 connection: bytes into Requests, Responses into bytes, in the order in which they were asked.

`data_received` only parses and queues; one task per connection takes requests from the queue, awaits the handler and
writes, so that pipelined requests are answered in order. A streamed body is advanced only while the transport
takes bytes: a slow reader costs one chunk and the transport's buffer, never more. After an upgrade the
connection becomes a `ConnectionDuplex` (duplex.py). listener.py opens and closes connections.

A handler, or a body iterator, that raises ConnectionError drops the connection without an answer: fault rules
use it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol, cast

import httptools

from slipway.cluster.exchange import Handler, Peer, Request, Response
from slipway.cluster.server.compression import accepts_gzip, gzip
from slipway.cluster.server.duplex import ConnectionDuplex
from slipway.cluster.server.request_target import ascii_text, origin_form
from slipway.cluster.server.tls_buffers import shrink_tls_buffer
from slipway.cluster.server.wire import (
    BODY_LIMIT,
    CONTINUE,
    GZIP_THRESHOLD,
    HEADER_LIMIT,
    LAST_CHUNK,
    encode_head,
    plain_refusal,
    status_response,
    too_large,
)
from slipway.cluster.status import StatusError, internal_error

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 32  # pipelined requests that wait before we stop reading
HELD_LIMIT = 256 * 1024  # bytes kept while an upgrade is being decided
LINGER_SECONDS = 2.0  # how long we read on after a refusal, so that the client gets to read it
WRITE_BUFFER = 64 * 1024  # bytes that wait for a slow reader, whatever the size of what is written
_INTERIM_WITHOUT_BODY = (204, 304)


class Registry(Protocol):
    """Who keeps the connections (the listener)."""

    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...
    def gathers(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """See the module's docstring."""

    def __init__(self, handler: Handler, registry: Registry, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._registry = registry
        self._loop = loop
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._peer = Peer()
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        # The request that is being read.
        self._url = b""
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._body_size = 0
        self._head_size = 0
        self._in_head = True
        self._reading = False
        self._continue_due = False
        # Requests that were read whole: (request, keep the connection, HTTP/1.1, bytes after an upgrade follow).
        self._queue: deque[tuple[Request, bool, bool, bool]] = deque()
        self._wanted: asyncio.Future[None] | None = None
        self._held: list[bytes] | None = None  # bytes after a request that asked for an upgrade
        self._held_size = 0
        self._duplex: ConnectionDuplex | None = None
        self._discarding = False
        # The answer that is being written.
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._busy = False
        self._cancellable = False
        self._lost = False
        self._closing = False
        self._eof = False
        self._linger: asyncio.TimerHandle | None = None
        self.since = 0.0  # when it became idle, or when the unfinished request began

    # --- the transport's side ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        shrink_tls_buffer(transport)
        address = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None
        text = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""
        self._peer = Peer(address=text, certificate=certificate)
        self.since = self._loop.time()
        self._registry.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._duplex is not None:
            self._duplex.feed(data)
        elif self._held is not None:
            self._hold(data)
        elif not self._discarding:
            self._parse(data)

    def eof_received(self) -> bool:
        self._eof = True
        if self._duplex is not None:
            self._duplex.feed_eof()
            return self._transport.get_extra_info("ssl_object") is None
        if self._busy and self._cancellable:
            self._cancel()
            return False
        # An answer that is under way is still written to a client that only stopped sending.
        return (self._busy or bool(self._queue)) and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._queue.clear()
        if self._linger is not None:
            self._linger.cancel()
        if self._duplex is not None:
            self._duplex.lost()
        self._wake_writer()
        if self._busy:
            # A write that began is finished although nobody waits for it: cut in the middle it might be half
            # done. Reads and streams end now.
            if self._cancellable:
                self._cancel()
        elif self._task is not None:
            self._task.cancel()
        self._registry.closed(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # --- the parser's side ------------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        if not self._reading:
            self._reading = True
            self.since = self._loop.time()
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._held = []
            rest = data[upgrade.args[0] :]
            if rest:
                self._hold(rest)
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, _RefusedError):
                logger.exception("a request could not be taken apart")
            self._refuse(cause.answer if isinstance(cause, _RefusedError) else plain_refusal(400))
            return
        except httptools.HttpParserError:
            self._refuse(plain_refusal(400))
            return
        if self._in_head and self._head_size > HEADER_LIMIT:
            self._refuse(plain_refusal(431))

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer
        key = name.decode("latin-1").lower()
        text = value.decode("utf-8", "replace")
        headers = self._headers
        if key in headers:
            text = f"{headers[key]}{_joiner(key)}{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        headers = self._headers
        length = headers.get("content-length")
        if length is not None and int(length) > BODY_LIMIT:
            raise _RefusedError(None)
        if headers.get("expect", "").lower() == "100-continue" and self._parser.get_http_version() == "1.1":
            if self._busy or self._queue:
                self._continue_due = True
            else:
                self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > BODY_LIMIT:
            raise _RefusedError(None)
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        raw_path, _, raw_query = self._url.partition(b"?")
        if not raw_path.startswith(b"/"):
            raw_path, raw_query = origin_form(self._url, raw_path, raw_query)
        parser = self._parser
        request = Request(
            parser.get_method().decode("latin-1"),
            ascii_text(raw_path),
            ascii_text(raw_query),
            self._headers,
            self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks),
            self._peer,
        )
        upgrading = bool(parser.should_upgrade())
        self._queue.append(
            (request, parser.should_keep_alive() or upgrading, parser.get_http_version() == "1.1", upgrading)
        )
        self._url = b""
        self._headers = {}
        if self._chunks:
            self._chunks = []
        self._body_size = 0
        self._in_head = True
        self._reading = False
        self._continue_due = False
        if self._wanted is not None:
            if not self._wanted.done():
                self._wanted.set_result(None)
        elif self._task is None:
            self._task = self._loop.create_task(self._serve())
        if len(self._queue) >= QUEUE_LIMIT:
            self._transport.pause_reading()

    def _hold(self, data: bytes) -> None:
        assert self._held is not None
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > HELD_LIMIT:
            self._transport.pause_reading()

    def _refuse(self, answer: bytes | None) -> None:
        """Answer what cannot be read (None: it is too large) once earlier answers are out; then only discard."""
        self._discarding = True
        self._reading = False
        request = Request("", "", peer=self._peer)
        if answer is None:
            self._queue.append((request, False, True, False))
        else:
            request.body = answer
            self._queue.append((request, False, False, False))
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
        elif self._task is None:
            self._task = self._loop.create_task(self._serve())

    # --- answering --------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while not self._lost:
                if not self._queue:
                    if self._eof or self._closing:
                        break
                    self.since = self._loop.time()
                    self._wanted = self._loop.create_future()
                    await self._wanted
                    self._wanted = None
                    continue
                item = self._queue.popleft()
                if len(self._queue) == QUEUE_LIMIT - 1:
                    self._transport.resume_reading()
                self._busy = True
                keep = await self._answer(*item)
                self._busy = False
                if not keep or self._closing:
                    break
                if self._continue_due and not self._queue:
                    self._continue_due = False
                    self._transport.write(CONTINUE)
        except asyncio.CancelledError:
            pass
        except ConnectionError:
            self._transport.abort()
        except Exception:
            logger.exception("an answer was cut short")
            self._transport.abort()
        finally:
            self._busy = False
            self._end()

    def _end(self) -> None:
        """Close; after a refusal only when the client had time to read it, for a reset would overtake it."""
        if self._lost or self._transport.is_closing():
            return
        if self._discarding and not self._eof:
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._linger = self._loop.call_later(LINGER_SECONDS, self._transport.abort)
        else:
            self._transport.close()

    async def _answer(self, request: Request, keep: bool, modern: bool, upgrading: bool) -> bool:
        """Answer one request; whether the connection lives on."""
        if not request.method:  # from _refuse
            if request.body:
                self._transport.write(request.body)
            else:
                await self._write(request, too_large(), keep=False, modern=True)
            return False
        self._cancellable = request.method in ("GET", "HEAD")
        try:
            response = await self._handler(request)
        except StatusError as error:
            response = status_response(error)
        except ConnectionError:
            raise
        except Exception as error:
            logger.exception("the handler failed on %s %s", request.method, request.path)
            response = status_response(internal_error(str(error) or type(error).__name__))
        if self._lost:
            if not isinstance(response.body, bytes):
                await _discard(response.body)
            return False
        if response.upgrade is not None and upgrading:
            await self._upgrade(response)
            return False
        keep = keep and not self._closing and response.headers.get("Connection") != "close"
        await self._write(request, response, keep=keep, modern=modern)
        if upgrading and keep:  # refused: what follows is HTTP again
            self._parser = httptools.HttpRequestParser(self)
            held, self._held, self._held_size = self._held or [], None, 0
            self._transport.resume_reading()
            for data in held:
                self.data_received(data)
        return keep

    async def _write(self, request: Request, response: Response, *, keep: bool, modern: bool) -> None:
        ending = "" if keep and modern else "Connection: keep-alive\r\n" if keep else "Connection: close\r\n"
        body = response.body
        headers = response.headers
        if not isinstance(body, bytes):
            await self._write_stream(request, response, body, ending, modern)
            return
        if len(body) > GZIP_THRESHOLD and accepts_gzip(request) and "Content-Encoding" not in headers:
            body = await gzip(body)
            headers = {**headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        if response.status not in _INTERIM_WITHOUT_BODY:
            ending += f"Content-Length: {len(body)}\r\n"
        head = encode_head(response, headers, ending)
        if request.method == "HEAD" or response.status in _INTERIM_WITHOUT_BODY:
            body = b""
        if len(body) < WRITE_BUFFER:
            self._transport.write(head + body)
            if self._paused:
                await self._drain()
        else:
            self._transport.write(head)
            await self._write_large(body)

    async def _write_stream(
        self, request: Request, response: Response, body: AsyncIterator[bytes], ending: str, modern: bool
    ) -> None:
        self._cancellable = True
        write = self._transport.write
        framing = "Transfer-Encoding: chunked\r\n" if modern else "Connection: close\r\n"
        try:
            write(encode_head(response, response.headers, framing + (ending if modern else "")))
            if request.method == "HEAD":
                return
            try:
                async for chunk in body:
                    if not chunk:
                        continue
                    if len(chunk) < WRITE_BUFFER:
                        self._gather(b"%x\r\n%b\r\n" % (len(chunk), chunk) if modern else chunk)
                        if self._paused:
                            await self._drain()
                    else:
                        self.flush()
                        write(b"%x\r\n" % len(chunk) if modern else b"")
                        await self._write_large(chunk)
                        write(b"\r\n" if modern else b"")
                    if self._lost:
                        return
            except asyncio.CancelledError:
                if self._lost or self._eof or not self._closing:
                    raise
                # The server shuts down: the stream ends, but it ends as HTTP says.
            self.flush()
            if modern:
                write(LAST_CHUNK)
            else:
                self._transport.close()
        finally:
            await _discard(body)

    def _gather(self, data: bytes) -> None:
        """Keep small chunks until the iterator has to wait: events that come together are sent together."""
        if not self._gathered:
            self._registry.gathers(self)
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size >= WRITE_BUFFER:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if self._gathered and not self._lost:
            self._transport.write(b"".join(self._gathered))
        self._gathered.clear()
        self._gathered_size = 0

    async def _write_large(self, data: bytes) -> None:
        """In slices: the transport copies what it cannot send at once, and watchers share the bytes of an event."""
        view = memoryview(data)
        for start in range(0, len(view), WRITE_BUFFER):
            self._transport.write(view[start : start + WRITE_BUFFER])
            if self._paused:
                await self._drain()

    async def _drain(self) -> None:
        while self._paused and not self._lost:
            self._writable = self._loop.create_future()
            try:
                await self._writable
            finally:
                self._writable = None
        if self._lost:
            raise ConnectionResetError("the client has gone")

    async def _upgrade(self, response: Response) -> None:
        assert response.upgrade is not None
        self._cancellable = False
        duplex = ConnectionDuplex(self._transport, self._drain_if_paused)
        self._transport.write(encode_head(response, response.headers, ""))
        held, self._held = self._held or [], None
        self._duplex = duplex
        self._transport.resume_reading()
        for data in held:
            duplex.feed(data)
        if self._eof:
            duplex.feed_eof()
        try:
            await response.upgrade(duplex)
        finally:
            await duplex.close()

    async def _drain_if_paused(self) -> None:
        if self._lost:
            raise ConnectionResetError("the client has gone")
        if self._paused:
            await self._drain()

    # --- the listener's side ----------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    @property
    def idle(self) -> bool:
        """Between requests."""
        return not self._busy and not self._queue and not self._reading

    @property
    def unfinished(self) -> bool:
        """A request has begun and has not ended."""
        return self._reading and not self._busy

    def time_out(self) -> None:
        """Close a connection that says nothing."""
        if self.unfinished:
            self._transport.write(plain_refusal(408))
        self._transport.close()

    def shut_down(self) -> None:
        """Finish what is being answered, end streams and upgrades, then close."""
        self._closing = True
        if self._duplex is not None or (self._busy and self._cancellable):
            self._cancel()
        elif not self._busy and not self._queue:
            self._transport.close()

    def abort(self) -> None:
        if not self._lost:
            self._transport.abort()
        self._cancel()


class _RefusedError(Exception):
    """Thrown through the parser to stop it; None: the body is too large."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer


def _joiner(key: str) -> str:
    """What stands between the values of a header that came more than once. Groups and extra values of
    impersonation may hold commas, so a character that no header can hold keeps them apart."""
    if key.startswith("impersonate-"):
        return "\n"
    return "; " if key == "cookie" else ", "


async def _discard(body: AsyncIterator[bytes]) -> None:
    """End an iterator that nobody will advance any more."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
