"""One HTTP/1.1 connection: requests are answered one after the other, in the order in which they were asked.

`data_received` only reads (request_reader.py) and queues; one task per connection takes requests from the queue, awaits
the handler and writes its answer (response_writer.py), so that pipelined requests are answered in order. After an
upgrade the connection becomes a `ConnectionDuplex` (duplex.py). listener.py opens and closes connections.

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

from slipway.cluster.exchange import Handler, Peer, PushedBody, Request, Response
from slipway.cluster.server.duplex import ConnectionDuplex
from slipway.cluster.server.request_reader import Arrived, Refused, RequestReader
from slipway.cluster.server.response_writer import ResponseWriter
from slipway.cluster.server.tls_buffers import shrink_tls_buffer
from slipway.cluster.server.wire import CONTINUE, encode_head, plain_refusal, status_response, too_large
from slipway.cluster.status import StatusError, internal_error

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 32  # pipelined requests that wait before we stop reading
HELD_LIMIT = 256 * 1024  # bytes kept while an upgrade is being decided
LINGER_SECONDS = 2.0  # how long we read on after a refusal, so that the client gets to read it


class Registry(Protocol):
    """Who keeps the connections (the listener)."""

    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...
    def gathers(self, writer: ResponseWriter) -> None: ...


class Connection(asyncio.Protocol):
    """See the module's docstring."""

    def __init__(self, handler: Handler, registry: Registry, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._registry = registry
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        # Made when the connection is.
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._reader: RequestReader = cast(RequestReader, None)
        self._out: ResponseWriter = cast(ResponseWriter, None)
        # Requests that were read whole, and the answer to what could not be read (see `_refuse`).
        self._queue: deque[Arrived | Refused] = deque()
        self._wanted: asyncio.Future[None] | None = None
        self._continue_due = False
        self._held: list[bytes] | None = None  # bytes after a request that asked for an upgrade
        self._held_size = 0
        self._duplex: ConnectionDuplex | None = None
        self._discarding = False
        self._busy = False
        self._cancellable = False
        self._lost = False
        self._closing = False
        self._eof = False
        self._linger: asyncio.TimerHandle | None = None
        self.answering: Request | None = None
        self.since = 0.0  # when it became idle, or when the unfinished request began

    # --- the transport's side ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        shrink_tls_buffer(transport)
        address = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None
        text = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""
        self._reader = RequestReader(Peer(text, certificate), self._arrived, self._body_expected)
        self._out = ResponseWriter(self._transport, self._registry.gathers)
        self.since = self._loop.time()
        self._registry.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._duplex is not None:
            self._duplex.feed(data)
        elif self._held is not None:
            self._hold(data)
        elif not self._discarding:
            self._read(data)

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
        self._out.lose()
        if self._busy:
            # A write that began is finished although nobody waits for it: cut in the middle it might be half
            # done. Reads and streams end now.
            if self._cancellable:
                self._cancel()
        elif self._task is not None:
            self._task.cancel()
        self._registry.closed(self)

    def pause_writing(self) -> None:
        self._out.pause()

    def resume_writing(self) -> None:
        self._out.resume()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # --- the reader's side ------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        if not self._reader.unfinished:
            self.since = self._loop.time()
        try:
            rest = self._reader.feed(data)
        except Refused as refused:
            # It is said once earlier answers are out; what comes after it is not looked at.
            self._discarding = True
            self._enqueue(refused)
            return
        if rest is not None:
            self._held = []
            if rest:
                self._hold(rest)

    def _arrived(self, arrived: Arrived) -> None:
        self._continue_due = False
        self._enqueue(arrived)
        if len(self._queue) >= QUEUE_LIMIT:
            self._transport.pause_reading()

    def _body_expected(self) -> None:
        if self._busy or self._queue:
            self._continue_due = True
        else:
            self._transport.write(CONTINUE)

    def _enqueue(self, item: Arrived | Refused) -> None:
        self._queue.append(item)
        if self._wanted is not None:
            if not self._wanted.done():
                self._wanted.set_result(None)
        elif self._task is None:
            self._task = self._loop.create_task(self._serve())

    def _hold(self, data: bytes) -> None:
        assert self._held is not None
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > HELD_LIMIT:
            self._transport.pause_reading()

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
                keep = await self._answer(item)
                self._busy = False
                self.answering = None
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

    async def _answer(self, item: Arrived | Refused) -> bool:
        """Answer one request; whether the connection lives on."""
        if isinstance(item, Refused):
            if item.answer is not None:
                self._transport.write(item.answer)
            else:
                await self._write(Arrived(Request("", ""), False, True, False), too_large(), keep=False)
            return False
        request = item.request
        self._cancellable = request.method in ("GET", "HEAD")
        self.answering = request
        response = await self._response(request)
        if self._lost:
            if not isinstance(response.body, bytes):
                await _discard(response.body)
            return False
        if response.upgrade is not None and item.upgrading:
            await self._upgrade(response)
            return False
        keep = item.keep and not self._closing and response.headers.get("Connection") != "close"
        await self._write(item, response, keep=keep)
        if item.upgrading and keep:  # refused: what follows is HTTP again
            self._reader.start_anew()
            held, self._held, self._held_size = self._held or [], None, 0
            self._transport.resume_reading()
            for data in held:
                self.data_received(data)
        return keep

    async def _response(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except StatusError as error:
            return status_response(error)
        except ConnectionError:
            raise
        except Exception as error:
            logger.exception("the handler failed on %s %s", request.method, request.path)
            return status_response(internal_error(str(error) or type(error).__name__))

    async def _write(self, item: Arrived, response: Response, *, keep: bool) -> None:
        modern, body = item.modern, response.body
        ending = "" if keep and modern else "Connection: keep-alive\r\n" if keep else "Connection: close\r\n"
        if isinstance(body, bytes):
            await self._out.write(item.request, response, body, ending)
            return
        self._cancellable = True
        try:
            self._out.begin_stream(response, ending, chunked=modern)
            if item.request.method == "HEAD":
                return
            if isinstance(body, PushedBody):
                body.attach(self._out)
            try:
                await self._out.stream(body)
            except asyncio.CancelledError:
                if self._lost or self._eof or not self._closing:
                    raise
                # The server shuts down: the stream ends, but it ends as HTTP says.
            self._out.end_stream()
        finally:
            await _discard(body)

    async def _upgrade(self, response: Response) -> None:
        assert response.upgrade is not None
        self._cancellable = False
        duplex = ConnectionDuplex(self._transport, self._out.drain)
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

    # --- the listener's side ----------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    @property
    def idle(self) -> bool:
        """Between requests."""
        return not self._busy and not self._queue and not self._reader.unfinished

    @property
    def unfinished(self) -> bool:
        """A request has begun and has not ended."""
        return self._reader.unfinished and not self._busy

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


async def _discard(body: AsyncIterator[bytes]) -> None:
    """End an iterator that nobody will advance any more."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
