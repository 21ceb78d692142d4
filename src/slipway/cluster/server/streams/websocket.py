"""WebSocket over a Duplex: the opening handshake's answer, messages in and out (framing by `websockets`)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from slipway.cluster.exchange import Duplex, Request

MAX_MESSAGE = 16 * 1024 * 1024
CLOSING_SECONDS = 2.0
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def is_websocket(request: Request) -> bool:
    headers = request.headers
    return (
        headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in headers.get("connection", "").lower()
    )


def choose_protocol(request: Request, served: Sequence[str]) -> str | None:
    """The first of the client's sub-protocols that is served; "" when it names none; None when none fits."""
    offered = [name.strip() for name in request.headers.get("sec-websocket-protocol", "").split(",")]
    return next((name for name in offered if name in served), None)


def handshake_headers(request: Request, protocol: str) -> dict[str, str] | None:
    """The headers of the 101; None when the request's own are not RFC 6455's."""
    key = request.headers.get("sec-websocket-key", "")
    try:
        known = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        known = False
    if not known or request.headers.get("sec-websocket-version") != "13":
        return None
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    if protocol:
        headers["Sec-WebSocket-Protocol"] = protocol
    return headers


class WebSocket:
    """Messages over an upgraded connection. Pings are answered while `read` is being awaited."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=MAX_MESSAGE)
        self._parts: list[bytes] = []
        self._ready: list[bytes] = []

    async def read(self) -> bytes | None:
        """The next message, text or binary; None when the client has closed or gone."""
        while not self._ready:
            data = await self._duplex.read()
            if not data:
                self._protocol.receive_eof()
                return None
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._take(event)
            await self._flush()
            if self._protocol.state is not State.OPEN and not self._ready:
                return None
        return self._ready.pop(0)

    def _take(self, frame: Frame) -> None:
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._ready.append(b"".join(self._parts))
                self._parts.clear()

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                await self._duplex.write(data)

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send one message; ConnectionError when the client has gone."""
        try:
            if text:
                self._protocol.send_text(data)
            else:
                self._protocol.send_binary(data)
        except InvalidState:
            raise ConnectionResetError("the WebSocket is closed") from None
        await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close in order; waits a little for the client's part of it."""
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code, reason)
                await self._flush()
                async with asyncio.timeout(CLOSING_SECONDS):
                    while self._protocol.close_rcvd is None and (data := await self._duplex.read()):
                        self._protocol.receive_data(data)
                        self._protocol.events_received()
        except (ConnectionError, InvalidState, TimeoutError):
            pass
        await self._duplex.close()


class WebSocketDuplex:
    """Raw bytes carried in binary messages: what tunnels SPDY."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while (message := await self._socket.read()) is not None:
            if message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)

    async def close(self) -> None:
        await self._socket.close()
