"""Server: Modbus TCP before one inverter."""

from __future__ import annotations

import asyncio
import struct

from sungrow_simulator.inverter import Inverter


class ModbusServer:
    """Serves functions 3, 4, 6 and 16; gaps between known registers read as 0."""

    def __init__(self, inverter: Inverter, units: tuple[int, ...] = (1,), connections: int = 4) -> None:
        self._inverter = inverter
        self._units = units
        self._limit = connections
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, shown in `port`."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and free the port."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._limit:
            writer.close()
            return
        self._open.add(writer)
        try:
            while True:
                transaction, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                if protocol != 0 or not 2 <= length <= 254:
                    return
                request = await reader.readexactly(length - 1)
                if unit in self._units:
                    reply = self.answer(request)
                    writer.write(struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    def answer(self, request: bytes) -> bytes:
        """The reply to one request, exceptions included."""
        function = request[0]
        if function in (3, 4):
            return self._read(function, request)
        if function in (6, 16):
            return self._write(function, request)
        return bytes([function | 0x80, 1])

    def _read(self, function: int, request: bytes) -> bytes:
        if len(request) != 5:
            return bytes([function | 0x80, 3])
        wire, count = struct.unpack(">HH", request[1:])
        if not 1 <= count <= 125:
            return bytes([function | 0x80, 3])
        words = self._inverter.words("input" if function == 4 else "holding")
        asked = range(wire + 1, wire + 1 + count)
        if not any(address in words for address in asked):
            return bytes([function | 0x80, 2])
        return struct.pack(f">BB{count}H", function, 2 * count, *(words.get(a, 0) for a in asked))

    def _write(self, function: int, request: bytes) -> bytes:
        if function == 6:
            good = len(request) == 5
            payload = request[3:5]
        else:
            count = struct.unpack(">H", request[3:5])[0] if len(request) > 5 else 0
            good = 1 <= count <= 123 and request[5] == 2 * count == len(request) - 6
            payload = request[6:]
        if not good:
            return bytes([function | 0x80, 3])
        words = list(struct.unpack(f">{len(payload) // 2}H", payload))
        if not self._inverter.write(struct.unpack(">H", request[1:3])[0] + 1, words):
            return bytes([function | 0x80, 2])
        return request[:5]
