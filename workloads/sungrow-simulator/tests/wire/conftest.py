"""A simulated SH10RT at noon behind every kind of port, and the collector's clients for them."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import struct
from datetime import datetime

import pytest

from sungather.clock import SystemClock
from sungather.transports.encrypted import EncryptedModbus as EncryptedClient
from sungather.transports.modbus import ModbusTcp as ModbusClient
from sungather.transports.pins import Pins
from sungather.transports.winet import WiNet as WinetClient
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.dongle import Device
from sungrow_simulator.wire.opening import add_arguments, start

NOON = datetime(2026, 6, 1, 12, 0)
TIMEOUT = 0.5


class Plant:
    """One inverter, its schedule of faults and whatever ports a test opens for it."""

    def __init__(self) -> None:
        self.inverter = Inverter("SH10RT", NOON)
        self.faults = self.inverter.faults
        profile = self.inverter.profile
        self.device = Device(profile.model, profile.code, profile.serial, profile.hybrid)
        self._running = []

    async def open(self, *options: str) -> dict[str, int]:
        """Start what the command line options ask for; the ports by name."""
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        chosen = parser.parse_args(list(options))
        servers = await start(
            chosen, Answers(self.inverter), self.device, lambda: self.inverter.now.date(), self.faults
        )
        self._running.append(servers)
        return {name: listener.port for name, listener in servers.listeners.items()}

    async def close(self) -> None:
        for servers in self._running:
            await servers.stop()

    async def client(self, connection: str, **changes):
        """A collector's client before a port that is opened for it."""
        ports = {
            "modbus": ["--modbus", "0"],
            "tls": ["--tls", "0"],
            "sungrow": ["--sungrow", "0"],
            "http": ["--winet", "0", "--winet-http", "0"],
            "https": ["--winet2", "0"],
        }
        opened = await self.open(*ports[connection])
        match connection:
            case "modbus":
                return ModbusClient("127.0.0.1", opened["modbus"], unit=1, timeout=TIMEOUT)
            case "tls":
                return ModbusClient(
                    "127.0.0.1", opened["tls"], unit=1, timeout=TIMEOUT, tls=trusting(), pins=Pins({})
                )
            case "sungrow":
                return EncryptedClient(
                    "127.0.0.1", opened["sungrow"], unit=1, timeout=TIMEOUT, clock=SystemClock()
                )
            case "http":
                return WinetClient(
                    "127.0.0.1",
                    ws_port=opened["winet"],
                    http_port=opened["winet-http"],
                    unit=1,
                    timeout=TIMEOUT,
                )
        return WinetClient(
            "127.0.0.1",
            ws_port=opened["winet2"],
            http_port=opened["winet2"],
            unit=1,
            timeout=TIMEOUT,
            login=("admin", changes.get("password", "pw8888")),
            tls=trusting(),
            pins=changes.get("pins", Pins({})),
        )


def trusting() -> ssl.SSLContext:
    """Encryption without an authority, as a self-signed certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
async def plant():
    made = Plant()
    yield made
    await made.close()


class Raw:
    """A client that writes what it is told to, whole frames or pieces of them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, pdu: bytes, *, transaction: int = 7, unit: int = 1) -> None:
        self.writer.write(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)

    async def reply(self) -> tuple[int, int, bytes]:
        """Transaction id, unit id and what follows."""
        transaction, _, length, unit = struct.unpack(">HHHB", await self.reader.readexactly(7))
        return transaction, unit, await self.reader.readexactly(length - 1)

    async def ask(self, pdu: bytes, *, unit: int = 1) -> bytes:
        self.send(pdu, unit=unit)
        return (await self.reply())[2]

    async def ended(self) -> bool:
        """True when the other side closed the connection without a byte."""
        try:
            async with asyncio.timeout(1):
                return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
async def raw():
    """Connect a raw client to a port."""
    opened = []

    async def connect(port: int) -> Raw:
        client = Raw(*await asyncio.open_connection("127.0.0.1", port))
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.writer.close()
