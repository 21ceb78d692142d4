"""exec and attach: a Session's stdin, stdout, stderr and terminal size over WebSocket channels or SPDY streams.

How it ends is told on the error stream as a Status: Success, or Failure with reason NonZeroExitCode and the
code as a cause, as the kubelet does (k8s.io/apimachinery remotecommand constants; facts only).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs

from slipway.cluster.exchange import Duplex, Request, Response
from slipway.cluster.kubelet import Session, StreamError
from slipway.cluster.server.api_options import flag
from slipway.cluster.server.streams.channels import ChannelProtocol, ChannelSocket
from slipway.cluster.server.streams.spdy import SpdyConnection, SpdyStream
from slipway.cluster.server.streams.upgrades import refuse, spdy_headers, upgraded_by_websocket
from slipway.cluster.server.streams.websocket import WebSocket, handshake_headers, is_websocket
from slipway.cluster.server.wire import status_response
from slipway.cluster.status import StatusError, bad_request

Object = dict[str, Any]
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
SPDY_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "")
_PLAIN = ChannelProtocol("", status=False)
WEBSOCKET_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _PLAIN,
        ChannelProtocol("channel.k8s.io", status=False),
        ChannelProtocol("base64.channel.k8s.io", text=True, status=False),
        ChannelProtocol("v4.channel.k8s.io"),
        ChannelProtocol("v4.base64.channel.k8s.io", text=True),
        ChannelProtocol("v5.channel.k8s.io", closes=True),
    )
}
STREAMS_SECONDS = 30.0  # for a SPDY client to open the streams it asked for
_INTERNAL = "Internal error occurred: "
LINGER_SECONDS = 2.0  # for the client to hang up after the end


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """PodExecOptions and PodAttachOptions, as far as they concern the streams."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    container: str = ""
    command: tuple[str, ...] = ()

    @classmethod
    def parse(cls, query: str) -> StreamOptions:
        """Of a request's query; StatusError 400 when there is nothing to stream."""
        values = parse_qs(query, keep_blank_values=True)
        tty = flag(values, "tty")
        options = cls(
            flag(values, "stdin"),
            flag(values, "stdout"),
            flag(values, "stderr") and not tty,  # a terminal has one output
            tty,
            values.get("container", [""])[0],
            tuple(values.get("command", ())),
        )
        if not (options.stdin or options.stdout or options.stderr):
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        return options


SessionFactory = Callable[[StreamOptions], Awaitable[Session]]


class Carrier(Protocol):
    """The five streams of a remote command, whatever carries them."""

    def stdin(self) -> AsyncIterator[bytes]: ...
    def sizes(self) -> AsyncIterator[bytes]: ...
    async def send(self, stream: int, data: bytes) -> None: ...
    async def finish(self, status: Object) -> None: ...
    async def gone(self) -> None:
        """Returns when the client has hung up."""


def success() -> Object:
    return {"metadata": {}, "status": "Success"}


def failure(error: StreamError) -> Object:
    text = error.message.removeprefix(_INTERNAL)
    return {
        "metadata": {},
        "status": "Failure",
        "message": _INTERNAL + text,
        "reason": "InternalError",
        "details": {"causes": [{"message": text}]},
        "code": 500,
    }


def exit_status(code: int) -> Object:
    """The Status for an exit code."""
    if code == 0:
        return success()
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def remote_command(request: Request, session_factory: SessionFactory) -> Response:
    """Upgrade and serve. What the node refuses (StreamError 4xx) and what is no upgrade is a Status."""
    try:
        options = StreamOptions.parse(request.query)
        if is_websocket(request):
            protocol = upgraded_by_websocket(request, tuple(WEBSOCKET_PROTOCOLS))
            answered = handshake_headers(request, protocol)
            if answered is None:
                return refuse("bad WebSocket handshake: Sec-WebSocket-Key and version 13 are needed", 400)
            headers = answered
        else:
            headers = spdy_headers(request, SPDY_PROTOCOLS)
            protocol = headers.get("X-Stream-Protocol-Version", "")
        session: Session | StreamError
        session = await session_factory(options)
    except StatusError as error:
        return status_response(error)
    except StreamError as error:
        refused = refusal(error)
        if refused is not None:
            return refused
        session = error

    async def serve(duplex: Duplex) -> None:
        if is_websocket(request):
            await _serve_websocket(duplex, WEBSOCKET_PROTOCOLS[protocol], options, session)
        else:
            await _serve_spdy(duplex, protocol, options, session)

    return Response(101, headers, upgrade=serve)


_CANNOT_UPGRADE = "unable to upgrade connection: "


def refusal(error: StreamError) -> Response | None:
    """The kubelet's refusal as the API server passes it on, in plain text; None for what goes wrong in the
    container itself, which is told after the upgrade. kubectl puts its `unable to upgrade connection` before it."""
    if error.status >= 500 and not error.message.startswith(_CANNOT_UPGRADE):
        return None
    return refuse(error.message.removeprefix(_CANNOT_UPGRADE), error.status, ending="")


async def _converse(carrier: Carrier, options: StreamOptions, session: Session | StreamError) -> None:
    """Carry everything until the command has ended or the client has gone."""
    if isinstance(session, StreamError):
        await carrier.finish(failure(session))
        return
    work = asyncio.ensure_future(_outputs(carrier, options, session))
    inputs = [asyncio.ensure_future(_sizes(carrier, session))]
    if options.stdin:
        inputs.append(asyncio.ensure_future(_stdin(carrier, session)))
    gone = asyncio.ensure_future(carrier.gone())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await carrier.finish(await work)
        else:
            await session.abandon()
    except ConnectionError:
        await session.abandon()
    except StreamError as error:
        await carrier.finish(failure(error))
    except asyncio.CancelledError:
        await session.abandon()
        raise
    finally:
        await _end(work, gone, *inputs)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _outputs(carrier: Carrier, options: StreamOptions, session: Session) -> Object:
    async def copy(stream: int, chunks: AsyncIterator[bytes], wanted: bool) -> None:
        async for chunk in chunks:
            if wanted:
                await carrier.send(stream, chunk)

    copies = [asyncio.ensure_future(copy(STDOUT, session.stdout(), options.stdout))]
    if not options.tty:
        copies.append(asyncio.ensure_future(copy(STDERR, session.stderr(), options.stderr)))
    try:
        await asyncio.gather(*copies)
        return exit_status(await session.wait())
    finally:
        await _end(*copies)


async def _stdin(carrier: Carrier, session: Session) -> None:
    # A command that has closed its stdin, or ended, is not an error of the client's.
    with contextlib.suppress(ConnectionError, StreamError):
        async for chunk in carrier.stdin():
            await session.write_stdin(chunk)
        await session.close_stdin()


async def _sizes(carrier: Carrier, session: Session) -> None:
    pending = b""
    async for chunk in carrier.sizes():
        pending = (pending + chunk)[-4096:]
        while pending:
            try:
                size, end = json.JSONDecoder().raw_decode(pending.decode("utf-8", "replace").lstrip())
            except ValueError:
                break
            pending = pending.decode("utf-8", "replace").lstrip()[end:].encode().lstrip()
            if isinstance(size, dict):
                columns, rows = size.get("Width"), size.get("Height")
                if isinstance(columns, int) and isinstance(rows, int) and columns > 0 and rows > 0:
                    await session.resize(min(columns, 65535), min(rows, 65535))


# --- WebSocket --------------------------------------------------------------------------------------------------


class _ChannelCarrier:
    """Reads in the background into two small queues; a full one makes the socket wait."""

    def __init__(self, socket: ChannelSocket, protocol: ChannelProtocol) -> None:
        self._socket = socket
        self._protocol = protocol
        self._stdin: asyncio.Queue[bytes | None] = asyncio.Queue(16)
        self._sizes: asyncio.Queue[bytes | None] = asyncio.Queue(16)
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while (message := await self._socket.read()) is not None:
                channel, data, closed = message
                queue = {STDIN: self._stdin, RESIZE: self._sizes}.get(channel)
                if queue is not None and (data or closed):
                    await queue.put(None if closed else data)
        except ConnectionError:
            pass

    async def _drain(self, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        while (data := await queue.get()) is not None:
            yield data

    def stdin(self) -> AsyncIterator[bytes]:
        return self._drain(self._stdin)

    def sizes(self) -> AsyncIterator[bytes]:
        return self._drain(self._sizes)

    async def send(self, stream: int, data: bytes) -> None:
        await self._socket.send(stream, data)

    async def finish(self, status: Object) -> None:
        if self._protocol.status:
            await self._socket.send(ERROR, json.dumps(status).encode())
        elif status["status"] != "Success":
            await self._socket.send(ERROR, status["message"].encode())
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()

    async def gone(self) -> None:
        await asyncio.wait([self._reader])

    async def stop(self) -> None:
        await _end(self._reader)


async def _serve_websocket(
    duplex: Duplex, protocol: ChannelProtocol, options: StreamOptions, session: Session | StreamError
) -> None:
    socket = ChannelSocket(WebSocket(duplex), protocol)
    carrier = _ChannelCarrier(socket, protocol)
    try:
        # An empty message on the first channel that we write: older clients wait for it.
        await socket.send(STDOUT if options.stdout else STDERR if options.stderr else ERROR, b"")
        await _converse(carrier, options, session)
    except ConnectionError:
        pass
    finally:
        await carrier.stop()


# --- SPDY -------------------------------------------------------------------------------------------------------

_NAMES = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}


class _SpdyCarrier:
    """The client opens one stream for each of the five that it wants."""

    def __init__(self, duplex: Duplex, protocol: str) -> None:
        self._protocol = protocol
        self._streams: dict[int, SpdyStream] = {}
        self._arrived = asyncio.Event()
        self._connection = SpdyConnection(duplex, self._opened)
        self._reader = asyncio.ensure_future(self._connection.run())

    def _opened(self, stream: SpdyStream) -> None:
        number = _NAMES.get(stream.headers.get("streamtype", ""))
        if number is not None:
            self._streams[number] = stream
            self._arrived.set()

    async def wait_for(self, wanted: set[int]) -> bool:
        """Whether the client has opened all of these streams in time."""
        try:
            async with asyncio.timeout(STREAMS_SECONDS):
                while not wanted <= self._streams.keys():
                    self._arrived.clear()
                    arrived = asyncio.ensure_future(self._arrived.wait())
                    await asyncio.wait({arrived, self._reader}, return_when=asyncio.FIRST_COMPLETED)
                    await _end(arrived)
                    if self._reader.done():
                        return wanted <= self._streams.keys()
        except TimeoutError:
            return False
        return True

    async def _drain(self, number: int) -> AsyncIterator[bytes]:
        stream = self._streams.get(number)
        while stream is not None and (data := await stream.read()):
            yield data

    def stdin(self) -> AsyncIterator[bytes]:
        return self._drain(STDIN)

    def sizes(self) -> AsyncIterator[bytes]:
        return self._drain(RESIZE)

    async def send(self, stream: int, data: bytes) -> None:
        found = self._streams.get(stream)
        if found is not None:
            await found.write(data)

    async def finish(self, status: Object) -> None:
        if self._protocol.startswith(("v4", "v5")):
            await self.send(ERROR, json.dumps(status).encode())
        elif status["status"] != "Success":
            await self.send(ERROR, status["message"].encode())
        for stream in list(self._streams.values()):
            await stream.close()
        # The client reads to the end and hangs up; only then may the connection be cut.
        await asyncio.wait([self._reader], timeout=LINGER_SECONDS)

    async def gone(self) -> None:
        await asyncio.wait([self._reader])

    async def stop(self) -> None:
        await _end(self._reader)
        await self._connection.close()


async def _serve_spdy(
    duplex: Duplex, protocol: str, options: StreamOptions, session: Session | StreamError
) -> None:
    carrier = _SpdyCarrier(duplex, protocol)
    wanted = {ERROR}
    wanted |= {STDIN} if options.stdin else set()
    wanted |= {STDOUT} if options.stdout else set()
    wanted |= {STDERR} if options.stderr else set()
    wanted |= {RESIZE} if options.tty and protocol.startswith(("v3", "v4", "v5")) else set()
    try:
        if await carrier.wait_for(wanted):
            await _converse(carrier, options, session)
        elif not isinstance(session, StreamError):
            await session.abandon()
    except ConnectionError:
        pass
    finally:
        await carrier.stop()
