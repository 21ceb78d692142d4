"""WiNet ports: the dongle's web pages and WebSocket, old (ws on 8082, http on 80) and new (both on 443, TLS)."""

from __future__ import annotations

import json
from dataclasses import replace
from http import HTTPStatus
from importlib.resources import files

from sungrow_simulator.faults import Fault, Faults
from sungrow_simulator.wire.certificate import Certificate
from sungrow_simulator.wire.dongle import Dongle
from sungrow_simulator.wire.spoiling import ON_BYTES, ON_REPLY
from sungrow_simulator.wire.web import Page, Socket, WebPort

WORDS = files("sungrow_simulator") / "wire" / "en_US.properties"
ON_SESSION = frozenset({Fault.TOKEN_EXPIRED, Fault.TAKEN_OVER})


class WinetPort(WebPort):
    """One of a dongle's ports; an old dongle has two of them."""

    socket_path = "/ws/home/overview"

    def __init__(
        self,
        dongle: Dongle,
        faults: Faults,
        *,
        name: str = "winet",
        connections: int = 16,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(name, faults, connections=connections, certificate=certificate)
        self._dongle = dongle

    def page(self, method: str, path: str, query: dict[str, str]) -> Page:
        if path == "/device/getParam":
            function = 3 if query.get("param_type") == "1" else 4
            fault = self._met(function, ON_BYTES | ON_REPLY | ON_SESSION | {Fault.OVERSIZE})
            return Page(self._dongle.parameters(query, fault), fault=fault)
        return replace(self._other_page(path), fault=self._met(None, ON_BYTES))

    def message(self, socket: Socket, text: str) -> tuple[str, Fault | None]:
        possible = ON_BYTES | ON_SESSION
        if _service(text) == "login":
            possible |= {Fault.LOGIN_REFUSED}
        fault = self._met(None, possible)
        return self._dongle.message(socket, text, fault), fault

    def gone(self, socket: Socket) -> None:
        self._dongle.leave(socket)

    def _other_page(self, path: str) -> Page:
        if path == "/about/list":
            return Page(self._dongle.about())
        if path == "/device/overview":
            return Page(self._dongle.overview())
        if path.startswith("/i18n/"):
            return Page(WORDS.read_text(), content_type="text/plain")
        return Page("not found", HTTPStatus.NOT_FOUND, "text/plain")

    def _met(self, function: int | None, possible: frozenset[Fault]) -> Fault | None:
        fault = self.faults.on_request(self.name, function, possible)
        if fault is Fault.TOKEN_EXPIRED:
            self._dongle.expire()
        if fault is Fault.TAKEN_OVER:
            self._dongle.take_over()
        return fault


def _service(text: str) -> object:
    try:
        asked = json.loads(text)
    except ValueError:
        return None
    return asked.get("service") if isinstance(asked, dict) else None
