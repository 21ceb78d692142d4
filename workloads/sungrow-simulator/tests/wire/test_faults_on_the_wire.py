"""What the schedule of faults does to each port, byte by byte, as a raw client sees it (acceptance point 57)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

OPTIONS = {
    "modbus": ["--modbus", "0"],
    "tls": ["--tls", "0"],
    "sungrow": ["--sungrow", "0"],
    "winet": ["--winet", "0"],
    "winet-http": ["--winet", "0", "--winet-http", "0"],
    "winet2": ["--winet2", "0"],
}
SECURE = ("tls", "winet2")
CODE, SERIAL, CLOCK = (4, 5000, 1), (4, 4990, 10), (3, 5000, 6)
"""Function, documented address, count."""


def pdu(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address - 1, count)


class Line:
    """A connection to one port: `ask` puts a question on it, `answer` takes one whole answer off it."""

    def __init__(self, plant, port: int, *, secure: bool) -> None:
        self.plant, self._port, self._secure = plant, port, secure

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=trusting() if self._secure else None
        )

    async def get(self, count: int) -> bytes:
        async with asyncio.timeout(60):
            return await self.reader.readexactly(count)

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
        await super().connect()
        self.writer.write(bytes.fromhex("68680000 0006f704 0ae70008"))
        offered = (await self.get(25))[9:]
        key = bytes(a ^ b for a, b in zip(offered, b"Grow#0*2Sun68CbE", strict=True))
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())
        await super().connect()

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
        await super().connect()

    async def ask(self, question) -> None:
        function, address, count = question
        query = f"dev_id=1&dev_type=35&dev_code=3587&type=3&param_addr={address}&param_num={count}"
        query += f"&param_type={4 - function and 1}&token={self.talk.token}&lang=en_us"
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

    async def connect(self, *, login: bool = True) -> None:
        await super().connect()
        self.writer.write(
            b"GET /ws/home/overview HTTP/1.1\r\nHost: dongle\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        async with asyncio.timeout(60):
            assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        await self.enter("connect")
        if login and self._secure:
            await self.enter("login", username="admin", passwd="pw8888")

    async def enter(self, service: str, **fields: str) -> int:
        await self.send(service, **fields)
        said = self.said(await self.answer())
        self.token = said["result_data"].get("token", self.token)
        return said["result_code"]

    async def ask(self, question) -> None:
        await self.send({CODE: "state", SERIAL: "devicelist"}[question])

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


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


KINDS = {
    "modbus": ModbusLine,
    "tls": ModbusLine,
    "sungrow": EncryptedLine,
    "winet-http": PageLine,
    "winet2": PageLine,
    "winet": TalkLine,
    "winet2 talk": TalkLine,
}
MODBUS = ["modbus", "tls", "sungrow"]
PAGES = ["winet-http", "winet2"]


@pytest.fixture
async def line(plant):
    """Open a port and a connection to it."""
    made = []

    async def connect(name: str):
        port = name.split()[0]
        plant.ports = await plant.open(*OPTIONS[port])
        found = KINDS[name](plant, plant.ports[port], secure=port in SECURE)
        made.append(found)
        await found.connect()
        await found.ask(CODE)
        return found, await found.answer()

    yield connect
    for each in made:
        each.writer.close()


def injected(plant, fault: str) -> int:
    return plant.faults.counters[f"faults.{fault}"]


@pytest.mark.parametrize("name", KINDS)
async def test_reset_ends_the_connection_without_a_farewell(plant, line, name):
    here, _ = await line(name)
    plant.faults.add("reset", times=1)
    await here.ask(CODE)
    with pytest.raises(ConnectionResetError):
        await here.get(1)
    assert injected(plant, "reset") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_silent_leaves_out_one_answer_and_the_next_one_comes(plant, line, name):
    here, good = await line(name)
    plant.faults.add("silent", times=1)
    await here.ask(SERIAL)
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "silent") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_half_an_answer_is_followed_by_nothing_of_it(plant, line, name):
    here, good = await line(name)
    plant.faults.add("half", times=1)
    await here.ask(CODE)
    await here.ask(CODE)
    assert await here.get(len(good) // 2 + len(good)) == good[: len(good) // 2] + good
    assert injected(plant, "half") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_a_slow_answer_comes_byte_by_byte_and_none_is_wrong(plant, line, name, monkeypatch):
    monkeypatch.setattr("sungrow_simulator.wire.spoiling.DRIP", 0.001)
    here, good = await line(name)
    written = []
    real = asyncio.StreamWriter.write
    monkeypatch.setattr(asyncio.StreamWriter, "write", lambda w, data: (written.append(data), real(w, data)))
    plant.faults.add("slow", times=1)
    await here.ask(CODE)
    assert await here.answer() == good
    assert written[1:] == [good[at : at + 1] for at in range(len(good))]
    assert injected(plant, "slow") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_garbage_is_no_answer_and_the_same_each_time(plant, line, name):
    here, good = await line(name)
    plant.faults.add("garbage", times=2)
    await here.ask(CODE)
    await here.ask(CODE)
    await here.ask(CODE)
    first, second = await here.get(32), await here.get(32)
    assert first == second != good[:32]
    assert await here.answer() == good
    assert injected(plant, "garbage") == 2


@pytest.mark.parametrize("name", MODBUS)
async def test_wrong_transaction_and_wrong_unit_change_only_that(plant, line, name):
    here, good = await line(name)
    right = here.plain(good)
    plant.faults.add("wrong-transaction", times=1)
    plant.faults.add("wrong-unit", times=1)
    await here.ask(CODE)
    wrong = here.plain(await here.answer())
    assert (wrong[:2] != right[:2], wrong[2:]) == (True, right[2:])
    await here.ask(CODE)
    wrong = here.plain(await here.answer())
    assert (wrong[6] != 1, wrong[:6] + wrong[7:]) == (True, right[:6] + right[7:])


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 11])
@pytest.mark.parametrize("name", MODBUS)
async def test_an_exception_comes_instead_of_the_answer(plant, line, name, code):
    here, good = await line(name)
    plant.faults.add(f"exception-{code}", times=1)
    await here.ask(CODE)
    assert here.plain(await here.answer())[7:] == bytes((0x84, code))
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, f"exception-{code}") == 1


async def test_what_is_refused_by_an_exception_is_not_written(plant, raw):
    client = await raw((await plant.open())["modbus"])
    before = plant.inverter.words("holding")[13050]
    plant.faults.add("exception-4", times=1, function=6)
    write = struct.pack(">BHH", 6, 13049, 2)
    assert before != 2
    assert await client.ask(write) == b"\x86\x04"
    assert plant.inverter.words("holding")[13050] == before
    assert await client.ask(write) == write
    assert plant.inverter.words("holding")[13050] == 2


@pytest.mark.parametrize("name", MODBUS)
async def test_short_leaves_the_last_word_out(plant, line, name):
    here, _ = await line(name)
    await here.ask(SERIAL)
    good = here.plain(await here.answer())
    plant.faults.add("short", times=1)
    await here.ask(SERIAL)
    short = here.plain(await here.answer())
    assert short[4:6] == (len(good) - 8).to_bytes(2, "big")
    assert short[6:] == good[6:8] + bytes((18,)) + good[9:-2]


@pytest.mark.parametrize("name", MODBUS)
async def test_oversize_says_a_length_that_no_frame_has(plant, line, name):
    here, good = await line(name)
    plant.faults.add("oversize", times=1)
    await here.ask(CODE)
    whole = here.plain(await here.get(len(good)))
    assert whole[4:6] == b"\xff\xff"
    assert whole[6:] == here.plain(good)[6:]


@pytest.mark.parametrize("name", PAGES)
async def test_oversize_of_a_page_says_that_more_comes_than_does(plant, line, name):
    here, good = await line(name)
    plant.faults.add("oversize", times=1)
    await here.ask(CODE)
    async with asyncio.timeout(60):
        head = await here.reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 1000000000\r\n" in head
    body = good.split(b"\r\n\r\n")[1]
    assert await here.get(len(body)) == body


@pytest.mark.parametrize("name", ["winet", "winet2 talk"])
async def test_oversize_of_a_message_says_that_more_comes_than_does(plant, line, name):
    here, good = await line(name)
    plant.faults.add("oversize", times=1)
    await here.ask(CODE)
    assert await here.get(10) == b"\x81\x7f" + (1 << 62).to_bytes(8, "big")
    text = good[good.index(b"{") :]
    assert await here.get(len(text)) == text


@pytest.mark.parametrize("name", PAGES)
async def test_a_dongle_says_of_an_exception_that_it_cannot_read_and_shortens_too(plant, line, name):
    here, _ = await line(name)
    plant.faults.add("exception-2", times=1)
    plant.faults.add("short", times=1)
    await here.ask(SERIAL)
    assert here.said(await here.answer())["result_code"] == 301
    await here.ask(SERIAL)
    assert len(bytes.fromhex(here.said(await here.answer())["result_data"]["param_value"])) == 18
    await here.ask(SERIAL)
    assert len(bytes.fromhex(here.said(await here.answer())["result_data"]["param_value"])) == 20


@pytest.mark.parametrize("name", PAGES)
async def test_an_expired_token_is_106_on_page_and_socket_until_the_next_login(plant, line, name):
    here, good = await line(name)
    plant.faults.add("token-expired", times=1)
    await here.ask(CODE)
    assert here.said(await here.answer())["result_code"] == 106
    await here.talk.ask(CODE)
    assert here.talk.said(await here.talk.answer())["result_code"] == 106
    await here.talk.connect()
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "token-expired") == 1


@pytest.mark.parametrize("name", PAGES)
async def test_another_user_puts_out_those_who_are_here_with_notice_100(plant, line, name):
    here, good = await line(name)
    plant.faults.add("taken-over", times=1)
    await here.ask(CODE)
    assert here.said(await here.answer())["result_code"] == 106
    notice = here.talk.said(await here.talk.answer())
    assert (notice["result_code"], notice["result_data"]["service"]) == (100, "notice")
    assert (await here.talk.get(4))[:1] == b"\x88", "the WebSocket closes"
    await here.talk.connect()
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "taken-over") == 1


@pytest.mark.parametrize("name", ["winet", "winet2 talk"])
async def test_who_is_put_out_while_asking_gets_the_notice_and_no_answer(plant, line, name):
    here, _ = await line(name)
    plant.faults.add("taken-over", times=1)
    await here.ask(CODE)
    assert here.said(await here.answer())["result_code"] == 100
    assert (await here.get(4))[:1] == b"\x88"
    async with asyncio.timeout(60):
        assert await here.reader.read() == b"", "the connection ends, too"


async def test_a_login_is_refused_once_and_then_accepted(plant, line):
    here, _ = await line("winet2 talk")
    await Line.connect(here)
    plant.faults.add("login-refused", times=1)
    await TalkLine.connect(here, login=False)
    assert await here.enter("login", username="admin", passwd="pw8888") != 1
    assert injected(plant, "login-refused") == 1
    assert await here.enter("login", username="admin", passwd="pw8888") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_a_refused_connection_ends_at_once_and_the_next_one_works(plant, line, name):
    here, good = await line(name)
    plant.faults.add("refuse", times=1, port=name.split()[0])
    await Line.connect(here)
    async with asyncio.timeout(60):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await here.reader.readexactly(1)
    await here.connect()
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "refuse") == 1


@pytest.mark.parametrize("name", ["tls", "winet2"])
async def test_a_certificate_changes_from_the_next_connection_on(plant, line, name):
    here, good = await line(name)
    first = here.certificate()
    await Line.connect(here)
    await here.ask(CODE)
    assert await here.answer() == good  # the port has met this connection, and not only its handshake
    assert here.certificate() == first
    plant.faults.add("certificate-changed", times=1)
    await Line.connect(here)
    assert here.certificate() == first
    async with asyncio.timeout(60):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await here.reader.readexactly(1)
    await here.connect()
    assert here.certificate() != first
    await here.ask(CODE)
    assert await here.answer() == good


@pytest.mark.parametrize("name", ["modbus", "sungrow", "winet-http", "winet"])
async def test_a_port_without_a_certificate_waits_for_one_that_has_it(plant, line, name):
    here, good = await line(name)
    plant.faults.add("certificate-changed", times=1)
    await here.connect()
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "certificate-changed") == 0
    assert len(plant.faults.rules) == 1


@pytest.mark.parametrize("name", KINDS)
async def test_what_has_no_meaning_on_a_port_does_not_meet_it(plant, line, name):
    here, good = await line(name)
    nothing = {
        "ModbusLine": ["token-expired", "taken-over", "login-refused"],
        "EncryptedLine": ["token-expired", "taken-over", "login-refused"],
        "PageLine": ["wrong-unit", "wrong-transaction", "login-refused"],
        "TalkLine": ["wrong-unit", "wrong-transaction", "short", "exception-2", "login-refused"],
    }[type(here).__name__]
    for fault in nothing:
        plant.faults.add(fault)
    await here.ask(CODE)
    assert await here.answer() == good
    assert [injected(plant, fault) for fault in nothing] == [0] * len(nothing)


@pytest.mark.parametrize("name", ["modbus", "winet-http"])
async def test_a_fault_of_one_function_leaves_the_others_alone(plant, line, name):
    here, good = await line(name)
    plant.faults.add("silent", function=3)
    await here.ask(CLOCK)
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "silent") == 1
    assert plant.faults.counters[f"requests.{name}"] == 3


@pytest.mark.parametrize("name", MODBUS)
async def test_a_schedule_begins_and_ends_by_the_inverters_clock(plant, line, name):
    here, _ = await line(name)
    plant.faults.add("exception-6", begin=plant.inverter.now.replace(hour=12, minute=10), seconds=60)
    codes = []
    for _ in range(3):
        await here.ask(CODE)
        codes.append(here.plain(await here.answer())[7])
        plant.inverter.advance(610 if not codes[1:] else 60)
    assert codes == [4, 0x84, 4]
