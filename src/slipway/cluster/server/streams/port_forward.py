"""port-forward: connections to a pod's ports over SPDY streams, SPDY in a WebSocket, or WebSocket channels.

SPDY: for each connection the client opens an error and a data stream with the same `requestid` and `port`.
WebSocket channels: two channels for each port named in the query, data and error, and the first message of ours on
each is the port as two bytes, low one first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from slipway.cluster.exchange import Duplex, Request, Response
from slipway.cluster.kubelet import StreamError
from slipway.cluster.server.streams.channels import ChannelProtocol, ChannelSocket
from slipway.cluster.server.streams.spdy import SpdyConnection, SpdyStream
from slipway.cluster.server.streams.upgrades import refuse, spdy_headers, upgraded_by_websocket
from slipway.cluster.server.streams.websocket import (
    WebSocket,
    WebSocketDuplex,
    handshake_headers,
    is_websocket,
)
from slipway.cluster.server.wire import status_response
from slipway.cluster.status import StatusError, bad_request

Connect = Callable[[int], Awaitable[Duplex]]
SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHANNEL_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        ChannelProtocol(""),
        ChannelProtocol("v4.channel.k8s.io"),
        ChannelProtocol("v4.base64.channel.k8s.io", text=True),
    )
}
MAX_PORTS = 100
HALF_CLOSED_SECONDS = 10.0


async def port_forward(request: Request, connect: Connect) -> Response:
    """Upgrade and serve; `connect` opens a connection to a port of the pod, or raises StreamError."""
    try:
        if not is_websocket(request):
            headers: dict[str, str] | None = spdy_headers(request, (SPDY_PROTOCOL,))
            protocol, ports = "", []
        else:
            protocol = upgraded_by_websocket(request, (TUNNEL_PROTOCOL, *CHANNEL_PROTOCOLS))
            ports = [] if protocol == TUNNEL_PROTOCOL else parse_ports(request.query)
            headers = handshake_headers(request, protocol)
    except StatusError as error:
        return status_response(error)
    if headers is None:
        return refuse("bad WebSocket handshake: Sec-WebSocket-Key and version 13 are needed", 400)

    async def serve(duplex: Duplex) -> None:
        if not is_websocket(request):
            await _Forwarding(duplex, connect).run()
        elif protocol == TUNNEL_PROTOCOL:
            await _Forwarding(WebSocketDuplex(WebSocket(duplex)), connect).run()
        else:
            socket = ChannelSocket(WebSocket(duplex), CHANNEL_PROTOCOLS[protocol])
            await _forward_channels(socket, ports, connect)

    return Response(101, headers, upgrade=serve)


def parse_ports(query: str) -> list[int]:
    """`ports` of a query, repeated or separated by commas; StatusError 400 when there is none or a bad one."""
    values = parse_qs(query)
    texts = [text for value in values.get("ports", values.get("port", [])) for text in value.split(",")]
    if not texts:
        raise bad_request("you must specify at least one port: query parameter ports=<1..65535>")
    ports = []
    for text in texts:
        if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
            raise bad_request(f"invalid port {text!r}: a number from 1 to 65535 is needed")
        ports.append(int(text))
    if len(ports) > MAX_PORTS:
        raise bad_request(f"too many ports: {len(ports)}; at most {MAX_PORTS}")
    return ports


# --- SPDY -------------------------------------------------------------------------------------------------------


class _Forwarding:
    """All connections of one `kubectl port-forward`."""

    def __init__(self, duplex: Duplex, connect: Connect) -> None:
        self._connect = connect
        self._waiting: dict[str, dict[str, SpdyStream]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection = SpdyConnection(duplex, self._opened)

    async def run(self) -> None:
        try:
            await self._connection.run()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._connection.close()

    def _opened(self, stream: SpdyStream) -> None:
        headers = stream.headers
        kind = headers.get("streamtype", "")
        # Old clients send no request id; their streams come in pairs, error first.
        pair_id = headers.get("requestid", "")
        pair = self._waiting.setdefault(pair_id, {})
        pair[kind] = stream
        if "error" in pair and "data" in pair:
            del self._waiting[pair_id]
            task = asyncio.ensure_future(self._forward(pair["data"], pair["error"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif len(self._waiting) > MAX_PORTS:
            self._waiting.pop(next(iter(self._waiting)))

    async def _forward(self, data: SpdyStream, error: SpdyStream) -> None:
        text = data.headers.get("port", "")
        try:
            if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
                raise StreamError(400, f"invalid port {text!r}")
            await _pump(data, await self._connect(int(text)))
        except StreamError as problem:
            await _quietly(error.write(problem.message.encode()))
        except ConnectionError:
            pass
        finally:
            await _quietly(data.close())
            await _quietly(error.close())


async def _quietly(action: Awaitable[None]) -> None:
    try:
        await action
    except ConnectionError:
        pass


async def _pump(stream: SpdyStream, pod: Duplex) -> None:
    """Copy both ways until the pod has ended or the client has gone.

    A client that has only closed its half still gets the rest. The pod is told by a half-close where the Duplex
    has one (`write_eof`); without, it has `HALF_CLOSED_SECONDS` to finish.
    """

    async def upwards() -> None:
        while chunk := await stream.read():
            await pod.write(chunk)

    async def downwards() -> None:
        while chunk := await pod.read():
            await stream.write(chunk)

    up, down = asyncio.ensure_future(upwards()), asyncio.ensure_future(downwards())
    try:
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        if not down.done():
            await up  # raises when the client has gone
            half_close = getattr(pod, "write_eof", None)
            if half_close is not None:
                half_close()
            await asyncio.wait([down], timeout=None if half_close else HALF_CLOSED_SECONDS)
        if down.done():
            await down
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        await pod.close()


# --- WebSocket channels -----------------------------------------------------------------------------------------


async def _forward_channels(socket: ChannelSocket, ports: list[int], connect: Connect) -> None:
    pods: dict[int, Duplex] = {}
    tasks: list[asyncio.Future[None]] = []
    try:
        for index, port in enumerate(ports):
            name = port.to_bytes(2, "little")
            await socket.send(2 * index, name)
            await socket.send(2 * index + 1, name)
        for index, port in enumerate(ports):
            try:
                pods[index] = await connect(port)
            except StreamError as problem:
                await socket.send(2 * index + 1, problem.message.encode())
                continue
            tasks.append(asyncio.ensure_future(_downwards(socket, index, pods[index])))
        receiving = asyncio.ensure_future(_upwards(socket, pods))
        tasks.append(receiving)
        if len(tasks) > 1:
            # When every pod has ended there is nothing left to say.
            ended = asyncio.ensure_future(_all_of(tasks[:-1]))
            await asyncio.wait([receiving, ended], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
        else:
            await receiving
    except ConnectionError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pod in pods.values():
            await pod.close()
        await socket.close()


async def _all_of(tasks: list[asyncio.Future[None]]) -> None:
    await asyncio.wait(tasks)


async def _downwards(socket: ChannelSocket, index: int, pod: Duplex) -> None:
    while chunk := await pod.read():
        await socket.send(2 * index, chunk)


async def _upwards(socket: ChannelSocket, pods: dict[int, Duplex]) -> None:
    while (message := await socket.read()) is not None:
        channel, data, _ = message
        pod = pods.get(channel // 2)
        if pod is not None and channel % 2 == 0 and data:
            try:
                await pod.write(data)
            except ConnectionError:
                del pods[channel // 2]
