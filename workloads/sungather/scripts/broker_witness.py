"""A listener at an MQTT broker that shares no code with the collector, so that it is a witness (MQTT 3.1.1, QoS 0)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

_CONNECT = b"\x10\x13\0\4MQTT\4\2\0\0\0\7witness"
_SUBSCRIBE_ALL = b"\x82\6\0\1\0\1#\0"
_PUBLISH = 3


class Witness:
    """Hears every topic from construction until closed; `last` is the newest payload of each."""

    def __init__(self, host: str, port: int) -> None:
        self.last: dict[str, str] = {}
        self._link = socket.create_connection((host, port), 5)
        self._link.settimeout(None)  # between two messages may lie any time
        self._link.sendall(_CONNECT + _SUBSCRIBE_ALL)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def quiet(self, seconds: float = 2) -> dict[str, str]:
        """What was heard, once nothing new has come for a while."""
        before = None
        while before != len(self.last):
            before = len(self.last)
            time.sleep(seconds)
        return dict(self.last)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._link.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, IndexError, struct.error):
            for topic, payload in self._publications():
                self.last[topic] = payload

    def _publications(self) -> Iterator[tuple[str, str]]:
        stream = self._link.makefile("rb")
        while first := stream.read(1):
            size = shift = 0
            while True:
                byte = stream.read(1)[0]
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = stream.read(size)
            if first[0] >> 4 == _PUBLISH:
                end = 2 + struct.unpack(">H", body[:2])[0]
                yield body[2:end].decode(), body[end:].decode()
