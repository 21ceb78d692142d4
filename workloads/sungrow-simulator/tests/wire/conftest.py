"""A simulated SH10RT at noon behind every kind of port, and raw clients for them, written from the protocol facts."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import ssl
import struct
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sungrow_simulator.inverter import Inverter
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.dongle import Device
from sungrow_simulator.wire.opening import add_arguments, start

NOON = datetime(2026, 6, 1, 12, 0)
OPTIONS = {
    "modbus": ["--modbus", "0"],
    "tls": ["--tls", "0"],
    "sungrow": ["--sungrow", "0"],
    "winet": ["--winet", "0"],
    "winet-http": ["--winet", "0", "--winet-http", "0"],
    "winet2": ["--winet2", "0"],
}
SECURE = ("tls", "winet2")


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


def trusting() -> ssl.SSLContext:
    """Encryption without an authority, as a self-signed certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def ends(reader: asyncio.StreamReader) -> bool:
    """True when the other side ends the connection without another byte."""
    try:
        async with asyncio.timeout(60):
            return await reader.read(1) == b""
    except ConnectionResetError:
        return True


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
        return await ends(self.reader)


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


def pdu(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address - 1, count)


class Line:
    """A connection to one port: `ask` puts a question on it, `answer` takes one whole answer off it."""

    def __init__(self, plant, port: int, *, secure: bool) -> None:
        self.plant, self._port, self._secure = plant, port, secure

    async def dial(self) -> None:
        """TCP and, where the port has it, TLS."""
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=trusting() if self._secure else None
        )

    async def connect(self) -> None:
        """All that comes before the first question."""
        await self.dial()

    async def get(self, count: int) -> bytes:
        async with asyncio.timeout(60):
            return await self.reader.readexactly(count)

    async def ended(self) -> bool:
        return await ends(self.reader)

    def certificate(self) -> str:
        shown = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hashlib.sha256(shown).hexdigest()


class ModbusLine(Line):
    async def ask(self, question) -> None:
        request = pdu(*question)
        self.writer.write(struct.pack(">HHHB", 7, 0, len(request) + 1, 1) + request)

    async def answer(self) -> bytes:
        head = await self.get(6)
        return head + await self.get(int.from_bytes(head[4:6], "big"))

    @staticmethod
    def plain(answer: bytes) -> bytes:
        """The Modbus TCP frame that is in the answer."""
        return answer


class EncryptedLine(Line):
    async def connect(self) -> None:
        await self.dial()
        self.writer.write(bytes.fromhex("68680000 0006f704 0ae70008"))
        offered = (await self.get(25))[9:]
        key = bytes(a ^ b for a, b in zip(offered, b"Grow#0*2Sun68CbE", strict=True))
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())
        await self.dial()

    async def ask(self, question) -> None:
        request = pdu(*question)
        frame = struct.pack(">HHHB", 0x6868, 0, len(request) + 1, 1) + request
        padding = 16 - len(frame) % 16
        encryptor = self._cipher.encryptor()
        self.writer.write(bytes((1, 0, len(frame), padding)) + encryptor.update(frame + b"\xff" * padding))

    async def answer(self) -> bytes:
        head = await self.get(4)
        return head + await self.get(head[2] + head[3])

    def plain(self, answer: bytes) -> bytes:
        return self._cipher.decryptor().update(answer[4:])[: answer[2]]


class PageLine(Line):
    """getParam, with a token that a conversation beside it fetched."""

    async def connect(self) -> None:
        self.talk = TalkLine(self.plant, self.plant.ports.get("winet", self._port), secure=self._secure)
        await self.talk.connect()
        await self.dial()

    async def ask(self, question) -> None:
        function, address, count = question
        query = f"dev_id=1&dev_type=35&dev_code=3587&type=3&param_addr={address}&param_num={count}"
        query += f"&param_type={int(function == 3)}&token={self.talk.token}&lang=en_us"
        self.writer.write(f"GET /device/getParam?{query} HTTP/1.1\r\nHost: dongle\r\n\r\n".encode())

    async def answer(self) -> bytes:
        async with asyncio.timeout(60):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return head + await self.get(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))

    @staticmethod
    def said(answer: bytes) -> dict:
        return json.loads(answer.split(b"\r\n\r\n", 1)[1])


class TalkLine(Line):
    """The dongle's WebSocket; a question is a service."""

    token = ""

    async def connect(self) -> None:
        await self.dial()
        await self.upgrade()
        if self._secure:
            await self.enter("login", username="admin", passwd="pw8888")

    async def upgrade(self) -> None:
        """From a connection to a conversation that nobody has logged in to."""
        self.writer.write(
            b"GET /ws/home/overview HTTP/1.1\r\nHost: dongle\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        async with asyncio.timeout(60):
            assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        await self.enter("connect")

    async def enter(self, service: str, **fields: str) -> int:
        await self.send(service, **fields)
        said = self.said(await self.answer())
        self.token = said["result_data"].get("token", self.token)
        return said["result_code"]

    async def ask(self, question) -> None:
        await self.send({5000: "state", 4990: "devicelist"}[question[1]])

    async def send(self, service: str, **fields: str) -> None:
        text = json.dumps({"lang": "en_us", "token": self.token, "service": service, **fields}).encode()
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        self.writer.write(b"\x81" + struct.pack(">BH", 0x80 | 126, len(text)) + mask + masked)

    async def answer(self) -> bytes:
        head = await self.get(2)
        if head[1] >= 126:
            head += await self.get({126: 2, 127: 8}[head[1]])
        return head + await self.get(int.from_bytes(head[2:], "big") if len(head) > 2 else head[1])

    @staticmethod
    def said(answer: bytes) -> dict:
        return json.loads(answer[answer.index(b"{") :])


KINDS = {
    "modbus": ModbusLine,
    "tls": ModbusLine,
    "sungrow": EncryptedLine,
    "winet-http": PageLine,
    "winet2": PageLine,
    "winet": TalkLine,
    "winet2 talk": TalkLine,
}


@pytest.fixture
async def line(plant):
    """Open a port and a connection to it."""
    made = []

    async def connect(name: str, *more: str) -> Line:
        port = name.split()[0]
        plant.ports = await plant.open(*OPTIONS[port], *more)
        found = KINDS[name](plant, plant.ports[port], secure=port in SECURE)
        made.append(found)
        await found.connect()
        return found

    yield connect
    for each in made:
        each.writer.close()
