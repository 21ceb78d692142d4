"""A listener at an MQTT broker that sleeps through nothing: its session outlives outages of the broker.

Written from MQTT 3.1.1 alone and sharing no code with the collector, so that it is a witness: CONNECT without clean
session, one subscription at QoS 1, every message acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from typing import Any

_CONNECT, _CONNACK, _PUBLISH, _SUBACK = 1, 2, 3, 9


class Listener:
    """Collects the JSON messages of one topic filter, in the order in which they came, until closed."""

    def __init__(self, port: int, topic: str) -> None:
        self._port, self._topic = port, topic
        self.messages: list[dict[str, Any]] = []
        self._closed = threading.Event()
        self.subscribed = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(5)

    def _listen(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as link:
                link.settimeout(0.5)
                self._converse(link)
            time.sleep(0.05)

    def _converse(self, link: socket.socket) -> None:
        link.sendall(
            _packet(_CONNECT << 4, _text("MQTT") + bytes((4, 0)) + bytes(2) + _text("demo-listener"))
        )
        received = bytearray()
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                data = link.recv(65536)
                if not data:
                    return
                received += data
            for kind, body in _packets(received):
                if kind >> 4 == _CONNACK:
                    link.sendall(_packet(0x82, struct.pack(">H", 1) + _text(self._topic) + b"\1"))
                elif kind >> 4 == _SUBACK:
                    self.subscribed.set()
                elif kind >> 4 == _PUBLISH:
                    self._take(link, kind, body)

    def _take(self, link: socket.socket, kind: int, body: bytes) -> None:
        size = struct.unpack(">H", body[:2])[0]
        rest = body[2 + size :]
        if kind & 6:
            link.sendall(_packet(0x40, rest[:2]))
            rest = rest[2:]
        if not kind & 1:  # a retained message is an old one, shown to those who come new
            self.messages.append(json.loads(rest))


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def _packet(first: int, body: bytes) -> bytes:
    assert len(body) < 128, "a listener sends only short packets"
    return bytes((first, len(body))) + body


def _packets(received: bytearray) -> list[tuple[int, bytes]]:
    """The whole packets at the front of what was received, taken out of it."""
    found = []
    while True:
        size = at = 0
        for at in range(1, 5):
            if at >= len(received):
                return found
            size |= (received[at] & 0x7F) << 7 * (at - 1)
            if not received[at] & 0x80:
                break
        if len(received) < at + 1 + size:
            return found
        found.append((received[0], bytes(received[at + 1 : at + 1 + size])))
        del received[: at + 1 + size]
