"""Numbered channels in WebSocket messages (`channel.k8s.io` and its kin): the first byte names the channel."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from slipway.cluster.server.streams.websocket import WebSocket

CLOSE = 255  # v5: the next byte names the channel that the client has closed
MAX_PART = 32 * 1024


@dataclass(frozen=True, slots=True)
class ChannelProtocol:
    """A sub-protocol: how bytes are written, whether channels close one by one, whether errors are Status."""

    name: str
    text: bool = False
    closes: bool = False
    status: bool = True


class ChannelSocket:
    """Sends and receives on channels. One reader; many writers."""

    def __init__(self, socket: WebSocket, protocol: ChannelProtocol) -> None:
        self._socket = socket
        self._protocol = protocol

    async def read(self) -> tuple[int, bytes, bool] | None:
        """(channel, bytes, whether the client closed it); None at the end. Unreadable messages are dropped."""
        while (message := await self._socket.read()) is not None:
            if not message:
                continue
            channel = message[0]
            if self._protocol.text:
                try:
                    return channel - ord("0"), base64.b64decode(message[1:], validate=True), False
                except (binascii.Error, ValueError):
                    continue
            if channel == CLOSE and self._protocol.closes:
                if len(message) > 1:
                    return message[1], b"", True
                continue
            return channel, message[1:], False
        return None

    async def send(self, channel: int, data: bytes) -> None:
        for start in range(0, len(data) or 1, MAX_PART):
            part = data[start : start + MAX_PART]
            if self._protocol.text:
                await self._socket.send(bytes([ord("0") + channel]) + base64.b64encode(part), text=True)
            else:
                await self._socket.send(bytes([channel]) + part)

    async def close(self) -> None:
        await self._socket.close()
