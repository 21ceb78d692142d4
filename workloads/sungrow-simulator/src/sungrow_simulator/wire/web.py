"""Web port: HTTP requests and WebSocket conversations on one listening port, as a dongle's small server has them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from sungrow_simulator.faults import Fault
from sungrow_simulator.wire.listener import Listener
from sungrow_simulator.wire.spoiling import send

MOST_BODY = 1 << 16
ENDLESS = b"\x7f" + (1 << 62).to_bytes(8, "big")
"""The length of a WebSocket frame that no memory holds."""


@dataclass(frozen=True)
class Page:
    """An answer to an HTTP request."""

    text: str = ""
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "application/json"

    def encode(self, *, oversize: bool = False) -> bytes:
        """The whole answer; an oversize one says that a gigabyte follows."""
        body = self.text.encode()
        length = 10**9 if oversize else len(body)
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

    def frame(self, text: str, *, oversize: bool = False) -> bytes:
        """The bytes that carry a text; none when the conversation is over. An oversize one has an endless length."""
        if self._protocol.state is not State.OPEN:
            return b""
        self._protocol.send_text(text.encode())
        whole = b"".join(self._protocol.data_to_send())
        return whole[:1] + ENDLESS + text.encode() if oversize else whole

    def send(self, text: str) -> None:
        """Push a text without being asked."""
        self._writer.write(self.frame(text))

    def end(self) -> None:
        """Close from this side."""
        if self._protocol.state is State.OPEN:
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
            try:
                address = urlsplit(target.partition(" ")[0])
            except ValueError:
                return
            if address.path == self.socket_path and "upgrade: websocket" in rest.lower():
                await self._talk(Socket(head, writer), reader, writer)
                return
            query = dict(parse_qsl(address.query))
            query |= dict(parse_qsl((await _body(rest, reader)).decode("latin-1")))
            page, fault = self.page(method, address.path, query)
            await send(fault, writer, page.encode(oversize=fault is Fault.OVERSIZE))

    async def _talk(self, socket: Socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            texts = socket.events()
            while True:
                for text in texts:
                    answer, fault = self.message(socket, text)
                    await send(fault, writer, socket.frame(answer, oversize=fault is Fault.OVERSIZE))
                if socket.over or not (data := await reader.read(1 << 16)):
                    return
                texts = socket.receive(data)
        finally:
            self.gone(socket)

    def page(self, method: str, path: str, query: dict[str, str]) -> tuple[Page, Fault | None]:
        """The answer to an HTTP request, and what goes wrong on its way."""
        raise NotImplementedError

    def message(self, socket: Socket, text: str) -> tuple[str, Fault | None]:
        """The answer to a WebSocket text, and what goes wrong on its way."""
        raise NotImplementedError

    def gone(self, socket: Socket) -> None:
        """A conversation ended."""


async def _body(head: str, reader: asyncio.StreamReader) -> bytes:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip().isdecimal():
            return await reader.readexactly(min(int(value), MOST_BODY))
    return b""
