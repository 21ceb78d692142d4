"""Web port: HTTP requests and WebSocket conversations on one listening port, as a dongle's small server has them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from sungrow_simulator.faults import Fault
from sungrow_simulator.wire.listener import Listener
from sungrow_simulator.wire.spoiling import send

MOST_BODY = 1 << 16


@dataclass(frozen=True)
class Page:
    """An answer to an HTTP request."""

    text: str = ""
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "application/json"
    fault: Fault | None = None

    def encode(self) -> bytes:
        body = self.text.encode()
        length = len(body) if self.fault is not Fault.OVERSIZE else 10**9
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Content-Type: {self.content_type}; charset=utf-8\r\nContent-Length: {length}\r\n\r\n"
        )
        return head.encode() + body


class Socket:
    """One WebSocket conversation, as the other side of `WebPort.message` sees it."""

    def __init__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._protocol = ServerProtocol()
        self._protocol.receive_data(head)

    def events(self) -> list[str]:
        """The texts that came since the last call; the handshake, pings and the closing are answered here."""
        texts = []
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                texts.append(bytes(event.data).decode("utf-8", "replace"))
        self._flush()
        return texts

    def receive(self, data: bytes) -> list[str]:
        self._protocol.receive_data(data)
        return self.events()

    def frame(self, text: str) -> bytes:
        """The bytes that carry a text."""
        self._protocol.send_text(text.encode())
        return b"".join(self._protocol.data_to_send())

    def send(self, text: str) -> None:
        """Push a text without being asked."""
        self._writer.write(self.frame(text))

    def end(self) -> None:
        """Close from this side."""
        self._protocol.send_close(1000)
        self._flush()

    @property
    def over(self) -> bool:
        return self._protocol.close_expected()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._writer.write(data)


class WebPort(Listener):
    """Subclasses say what a page holds and what a WebSocket text is answered with."""

    socket_path = "/"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.decode("latin-1").partition("\r\n")
            method, _, target = line.partition(" ")
            address = urlsplit(target.partition(" ")[0])
            if address.path == self.socket_path and "upgrade: websocket" in rest.lower():
                await self._talk(Socket(head, writer), reader, writer)
                return
            query = dict(parse_qsl(address.query))
            query |= dict(parse_qsl((await _body(rest, reader)).decode("latin-1")))
            page = self.page(method, address.path, query)
            await send(page.fault, writer, page.encode())

    async def _talk(self, socket: Socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            texts = socket.events()
            while not socket.over:
                for text in texts:
                    answer, fault = self.message(socket, text)
                    await send(fault, writer, socket.frame(answer))
                data = await reader.read(1 << 16)
                if not data:
                    return
                texts = socket.receive(data)
        finally:
            self.gone(socket)

    def page(self, method: str, path: str, query: dict[str, str]) -> Page:
        """The answer to an HTTP request."""
        raise NotImplementedError

    def message(self, socket: Socket, text: str) -> tuple[str, Fault | None]:
        """The answer to a WebSocket text, and what goes wrong on its way."""
        raise NotImplementedError

    def gone(self, socket: Socket) -> None:
        """A conversation ended."""


async def _body(head: str, reader: asyncio.StreamReader) -> bytes:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip().isdigit():
            return await reader.readexactly(min(int(value), MOST_BODY))
    return b""
