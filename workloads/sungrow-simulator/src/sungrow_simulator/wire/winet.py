"""WiNet ports: the dongle's web pages and WebSocket, old (ws on 8082, http on 80) and new (both on 443, TLS)."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from importlib.resources import files

from sungrow_simulator.wire.dongle import Dongle
from sungrow_simulator.wire.web import Page, Socket, WebPort

WORDS = files("sungrow_simulator") / "wire" / "en_US.properties"


class WinetPort(WebPort):
    """One of a dongle's ports; an old dongle has two of them."""

    socket_path = "/ws/home/overview"

    def __init__(self, dongle: Dongle, *, connections: int = 16, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(connections=connections, tls=tls)
        self._dongle = dongle

    def page(self, method: str, path: str, query: dict[str, str]) -> Page:
        if path == "/device/getParam":
            return Page(self._dongle.parameters(query))
        if path == "/about/list":
            return Page(self._dongle.about())
        if path == "/device/overview":
            return Page(self._dongle.overview())
        if path.startswith("/i18n/"):
            return Page(WORDS.read_text(), content_type="text/plain")
        return Page("not found", HTTPStatus.NOT_FOUND, "text/plain")

    def message(self, socket: Socket, text: str) -> None:
        socket.send(self._dongle.message(socket, text))

    def gone(self, socket: Socket) -> None:
        self._dongle.leave(socket)
