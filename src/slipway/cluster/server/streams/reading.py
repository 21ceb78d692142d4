"""What is otherwise the body of an answer, such as a log, over WebSocket: chunk by chunk as messages."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

from slipway.cluster.exchange import Duplex, Request, Response
from slipway.cluster.server.streams.upgrades import refuse, upgraded_by_websocket
from slipway.cluster.server.streams.websocket import WebSocket, handshake_headers
from slipway.cluster.status import StatusError

_TEXT_PROTOCOL = "base64.binary.k8s.io"
PROTOCOLS = ("", "binary.k8s.io", _TEXT_PROTOCOL)


def in_messages(request: Request, chunks: AsyncIterator[bytes]) -> Response:
    """Upgrade, send an empty message, then the chunks, and close. `chunks` is closed when the client leaves."""
    try:
        protocol = upgraded_by_websocket(request, PROTOCOLS)
    except StatusError as error:
        return refuse(error.message)
    headers = handshake_headers(request, protocol)
    if headers is None:
        return refuse("bad WebSocket handshake: Sec-WebSocket-Key and version 13 are needed", 400)
    as_text = protocol == _TEXT_PROTOCOL

    async def send(socket: WebSocket) -> None:
        await socket.send(b"", text=as_text)
        async for chunk in chunks:
            await socket.send(base64.b64encode(chunk) if as_text else chunk, text=as_text)

    async def serve(duplex: Duplex) -> None:
        socket = WebSocket(duplex)
        sending = asyncio.ensure_future(send(socket))
        listening = asyncio.ensure_future(_until_gone(socket))
        try:
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, listening):
                task.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
            await socket.close()

    return Response(101, headers, upgrade=serve)


async def _until_gone(socket: WebSocket) -> None:
    """What the client says does not matter, only that it is there."""
    while await socket.read() is not None:
        pass
