"""WiNet ports: the dongle's web pages and WebSocket, old (ws on 8082, http on 80) and new (both on 443, TLS)."""

from __future__ import annotations

import json
from http import HTTPStatus
from importlib.resources import files

from sungrow_simulator.faults import Fault, Faults
from sungrow_simulator.wire.certificate import Certificate
from sungrow_simulator.wire.dongle import Dongle
from sungrow_simulator.wire.spoiling import ON_BYTES, ON_REPLY
from sungrow_simulator.wire.web import Page, Socket, WebPort

WORDS = files("sungrow_simulator") / "wire" / "en_US.properties"
ANYWHERE = ON_BYTES | {Fault.OVERSIZE, Fault.TOKEN_EXPIRED, Fault.TAKEN_OVER}
"""What can go wrong with a page and with a message."""


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

    def page(self, method: str, path: str, query: dict[str, str]) -> tuple[Page, Fault | None]:
        if path == "/device/getParam":
            fault = self._meet(3 if query.get("param_type") == "1" else 4, ANYWHERE | ON_REPLY)
            return Page(self._dongle.parameters(query, fault)), fault
        fault = self._meet(None, ANYWHERE)
        return self._other_page(path), fault

    def message(self, socket: Socket, text: str) -> tuple[str, Fault | None]:
        at_login = {Fault.LOGIN_REFUSED} if _service(text) == "login" else frozenset()
        fault = self._meet(None, ANYWHERE | at_login)
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

    def _meet(self, function: int | None, possible: frozenset[Fault]) -> Fault | None:
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
