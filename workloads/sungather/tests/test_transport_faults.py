"""What an inverter or a bad line can do to a session (acceptance points 37, 38, 41, 43)."""

from __future__ import annotations

import asyncio
import ssl
import struct
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sungather.clock import SystemClock
from sungather.registers.register import Kind
from sungather.transports.encrypted import EncryptedModbus
from sungather.transports.modbus import ModbusTcp
from sungather.transports.pins import Pins
from sungather.transports.transport import (
    BrokenReply,
    CertificateChanged,
    NoReply,
    Refusal,
    TransportError,
    Unreachable,
)

pytestmark = pytest.mark.skipping

TIMEOUT = 10.0


def modbus(port, **rest):
    return ModbusTcp("127.0.0.1", port, unit=1, timeout=TIMEOUT, **rest)


def good(inverter, frame):
    return inverter.answer(frame)


async def silent(inverter, frame):
    await asyncio.sleep(3600)


async def slow_drip(inverter, frame):
    asking = list(inverter._writers)  # not those of later sessions
    for byte in inverter.answer(frame):
        for writer in asking:
            writer.write(bytes((byte,)))
        await asyncio.sleep(1)


FAULTS = {
    "closed without a reply": (lambda i, f: None, BrokenReply),
    "silent": (silent, NoReply),
    "slow drip": (slow_drip, NoReply),
    "half a frame": (lambda i, f: i.answer(f)[:9], (NoReply, BrokenReply)),
    "wrong transaction id": (lambda i, f: b"\xab\xcd" + i.answer(f)[2:], BrokenReply),
    "wrong unit id": (lambda i, f: i.answer(f)[:6] + b"\x07" + i.answer(f)[7:], BrokenReply),
    "wrong function": (lambda i, f: i.answer(f)[:7] + b"\x03" + i.answer(f)[8:], BrokenReply),
    "wrong protocol": (lambda i, f: i.answer(f)[:2] + b"\0\x09" + i.answer(f)[4:], BrokenReply),
    "short count": (lambda i, f: i.wrap(f, struct.pack(">BB", 4, 0)), BrokenReply),
    "count that lies": (lambda i, f: i.wrap(f, struct.pack(">BBH", 4, 20, 5)), BrokenReply),
    "oversize length": (lambda i, f: f[:4] + b"\xff\xff" + f[6:], BrokenReply),
    "garbage": (lambda i, f: b"HTTP/1.1 400 Bad Request\r\n\r\n", BrokenReply),
    "nothing but zeros": (lambda i, f: bytes(300), BrokenReply),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_bad_reply_ends_the_attempt_in_time_and_the_next_session_works(hybrid, fault):
    behaviour, expected = FAULTS[fault]
    session = modbus(hybrid.port)
    hybrid.fault = lambda frame: behaviour(hybrid, frame)
    await session.open()
    started = asyncio.get_running_loop().time()
    with pytest.raises(expected):
        await session.read(Kind.INPUT, 5000, 10)
    assert asyncio.get_running_loop().time() - started < TIMEOUT + 20
    await session.close()
    hybrid.fault = None
    await session.open()
    assert (await session.read(Kind.INPUT, 5000, 1))[0] == 0x0E03
    await session.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_many_reads_end_at_the_one_that_breaks_the_session(hybrid, fault):
    behaviour, expected = FAULTS[fault]
    asked = [(Kind.INPUT, 5000, 2), (Kind.INPUT, 13000, 2), (Kind.INPUT, 5003, 10), (Kind.HOLDING, 5006, 1)]
    hybrid.holes.add(13000)
    seen = 0

    def third_breaks(frame):
        nonlocal seen
        seen += 1
        return behaviour(hybrid, frame) if seen == 3 else hybrid.answer(frame)

    hybrid.fault = third_breaks
    session = modbus(hybrid.port)
    await session.open()
    outcomes = await session.read_all(asked)
    await session.close()
    assert outcomes[0] == (0x0E03, 100)
    assert isinstance(outcomes[1], Refusal), "a refusal does not end the session"
    assert isinstance(outcomes[2], expected)
    assert len(outcomes) == 3, "what comes after it is not taken"


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 11])
async def test_an_exception_is_a_refusal_and_the_session_goes_on(hybrid, code):
    session = modbus(hybrid.port)
    hybrid.fault = lambda frame: hybrid.wrap(frame, bytes((0x84, code)))
    await session.open()
    with pytest.raises(Refusal) as refused:
        await session.read(Kind.INPUT, 5000, 10)
    assert refused.value.code == code
    assert refused.value.permanent == (code in (1, 2, 3))
    hybrid.fault = None
    assert len(await session.read(Kind.INPUT, 5000, 10)) == 10
    await session.close()


async def test_a_refused_connection_is_unreachable():
    with pytest.raises(Unreachable):
        await modbus(1).open()


async def test_a_name_that_does_not_exist_is_unreachable():
    with pytest.raises(Unreachable):
        await ModbusTcp("no-such-host.invalid", 502, unit=1, timeout=TIMEOUT).open()


async def test_an_inverter_that_knows_no_encryption_is_told_from_one_that_is_busy(hybrid):
    hybrid.fault = lambda frame: silent(hybrid, frame)
    encrypted = EncryptedModbus("127.0.0.1", hybrid.port, unit=1, timeout=TIMEOUT, clock=SystemClock())
    with pytest.raises(NoReply) as caught:
        await encrypted.open()
    assert "connection: modbus" in caught.value.hint


async def test_a_late_reply_is_never_taken_for_the_next_one(run, hybrid):
    """The first reply comes after the timeout, with the values of another register."""
    first = True

    async def late(frame):
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(TIMEOUT + 5)
        return hybrid.answer(frame)

    hybrid.fault = late
    application = run({"port": hybrid.port, "timeout": TIMEOUT})
    cycle = await application.collector.collect()
    assert cycle.snapshot is not None
    assert cycle.snapshot.identity.model == "SH10RT"
    assert hybrid.connections == 2, "a session that timed out is not used again"


async def test_a_reply_that_comes_twice_is_not_taken_for_the_next_one(hybrid):
    session = modbus(hybrid.port)
    hybrid.fault = lambda frame: hybrid.answer(frame) * 2
    await session.open()
    assert await session.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await asyncio.sleep(0.05)
    with pytest.raises(BrokenReply):
        await session.read(Kind.INPUT, 5003, 1)
    await session.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_range_that_always_breaks_costs_only_itself(run, hybrid, fault):
    behaviour, _ = FAULTS[fault]

    def broken(frame):
        _, address, count = struct.unpack(">BHH", frame[7:12])
        hit = frame[7] == 4 and address <= 5007 < address + count
        return behaviour(hybrid, frame) if hit else hybrid.answer(frame)

    hybrid.fault = broken
    application = run({"port": hybrid.port, "timeout": TIMEOUT, "level": 1, "retries": 1})
    started = asyncio.get_running_loop().time()
    cycle = await application.collector.collect()
    assert cycle.snapshot is not None, cycle.error
    assert cycle.snapshot.value("export_power_hybrid") == 1800
    assert asyncio.get_running_loop().time() - started < 10 * TIMEOUT
    assert application.session.read_errors


async def test_a_range_that_broke_the_session_twice_is_left_out_for_a_while(run, hybrid):
    tried = []

    def broken(frame):
        _, address, count = struct.unpack(">BHH", frame[7:12])
        if frame[7] == 4 and address <= 5007 < address + count:
            tried.append(address)
            return silent(hybrid, frame)
        return hybrid.answer(frame)

    hybrid.fault = broken
    application = run({"port": hybrid.port, "timeout": TIMEOUT, "scan_interval": 60, "retries": 1})
    await application.collector.collect()
    before = len(tried)
    assert before >= 2
    cycle = await application.collector.collect()
    assert len(tried) == before, "a timeout is not paid at every collection"
    assert cycle.snapshot.value("export_power_hybrid") == 1800


async def test_a_silent_inverter_fails_the_whole_collection_after_a_few_timeouts(run, hybrid):
    hybrid.fault = lambda frame: silent(hybrid, frame)
    application = run({"port": hybrid.port, "timeout": TIMEOUT, "level": 2})
    started = asyncio.get_running_loop().time()
    cycle = await application.collector.collect()
    assert isinstance(cycle.error, NoReply)
    assert asyncio.get_running_loop().time() - started < 5 * TIMEOUT


async def test_writes_use_function_6_and_are_read_back(hybrid):
    session = modbus(hybrid.port)
    await session.open()
    await session.write(13052, (2500,))
    assert await session.read(Kind.HOLDING, 13052, 1) == (2500,)
    assert (6, 13052, 2500) in hybrid.requests
    await session.close()


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def trusting_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_tls_reads_and_remembers_the_certificate(scripted, as_hybrid, certificate):
    inverter = as_hybrid(scripted())
    await inverter.start(tls=server_context(certificate))
    remembered = {}
    session = modbus(inverter.port, tls=trusting_context(), pins=Pins({}, remember=remembered.__setitem__))
    await session.open()
    assert (await session.read(Kind.INPUT, 5000, 1))[0] == 0x0E03
    await session.close()
    assert len(next(iter(remembered.values()))) == 64

    changed = modbus(inverter.port, tls=trusting_context(), pins=Pins({session.name: "0" * 64}))
    with pytest.raises(CertificateChanged) as error:
        await changed.open()
    assert error.value.seen in error.value.hint
    anyone = modbus(
        inverter.port, tls=trusting_context(), pins=Pins({session.name: "0" * 64}, expected="any")
    )
    await anyone.open()
    await anyone.close()
    await inverter.stop()


async def test_tls_against_a_plain_port_is_unreachable(hybrid):
    with pytest.raises(TransportError):
        await modbus(hybrid.port, tls=trusting_context()).open()


GET_KEY = bytes([0x68, 0x68, 0, 0, 0, 6, 0xF7, 4, 0x0A, 0xE7, 0, 8])
SECRET = b"Grow#0*2Sun68CbE"


def encrypted_server(base):
    """A scripted inverter that speaks the encrypted variant, from the protocol facts."""

    class Encrypted(base):
        offered = bytes(range(16))
        keys_given = 0
        hangs_up = True
        """What it does about a frame that does not decrypt: end the session, or stay silent."""

        async def converse(self, reader, writer):
            start = await reader.readexactly(12)
            if start == GET_KEY:
                self.keys_given += 1
                writer.write(b"\x68\x68" + bytes(7) + self.offered)
                await writer.drain()
                return
            pending = start
            while True:
                if self.offered in (bytes(16), b"\xff" * 16):
                    frame = pending if len(pending) == 12 else await reader.readexactly(12)
                    writer.write(self.answer(frame))
                    pending = b""
                else:
                    pending += await reader.readexactly(4 - min(4, len(pending)))
                    size = pending[2] + pending[3]
                    body = pending[4:] + await reader.readexactly(size - len(pending[4:]))
                    cipher = Cipher(
                        algorithms.AES(bytes(a ^ b for a, b in zip(self.offered, SECRET, strict=True))),
                        modes.ECB(),
                    )
                    opener = cipher.decryptor()
                    plain = (opener.update(body) + opener.finalize())[: pending[2]]
                    if plain[:2] != b"\x68\x68":
                        await asyncio.sleep(0 if self.hangs_up else 2 * TIMEOUT)
                        return
                    reply = b"\x68\x68" + self.answer(b"\0\1" + plain[2:])[2:]
                    padding = 16 - len(reply) % 16
                    sealer = cipher.encryptor()
                    sealed = sealer.update(reply + b"\xff" * padding) + sealer.finalize()
                    writer.write(bytes((1, 0, len(reply), padding)) + sealed)
                    pending = b""
                await writer.drain()

    return Encrypted()


class Day:
    """A clock whose date the test sets."""

    def __init__(self) -> None:
        self.today = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)

    def now(self):
        return self.today

    def local(self):
        return self.today

    def monotonic(self):
        return asyncio.get_running_loop().time()


async def test_the_encrypted_variant_reads_and_fetches_its_key_once_a_day(scripted, as_hybrid):
    inverter = as_hybrid(encrypted_server(scripted))
    await inverter.start()
    clock = Day()
    session = EncryptedModbus("127.0.0.1", inverter.port, unit=1, timeout=TIMEOUT, clock=clock)
    for _ in range(3):
        await session.open()
        assert (await session.read(Kind.INPUT, 5000, 1))[0] == 0x0E03
        assert len(await session.read(Kind.INPUT, 5000, 123)) == 123
        await session.close()
    assert inverter.keys_given == 1
    assert inverter.connections == 4, "two for the first session, one for each later"

    inverter.offered = bytes(range(1, 17))
    clock.today = datetime(2026, 11, 22, 0, 1, tzinfo=UTC)
    await session.open()
    assert (await session.read(Kind.INPUT, 5000, 1))[0] == 0x0E03
    assert inverter.keys_given == 2
    await session.close()
    await inverter.stop()


@pytest.mark.parametrize("offered", [bytes(16), b"\xff" * 16])
async def test_an_inverter_that_offers_no_key_is_read_in_plain(scripted, as_hybrid, offered):
    inverter = as_hybrid(encrypted_server(scripted))
    inverter.offered = offered
    await inverter.start()
    session = EncryptedModbus("127.0.0.1", inverter.port, unit=1, timeout=TIMEOUT, clock=Day())
    await session.open()
    assert (await session.read(Kind.INPUT, 5000, 1))[0] == 0x0E03
    await session.close()
    await inverter.stop()


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_a_key_that_changed_during_the_day_is_fetched_again_after_one_failure(
    scripted, as_hybrid, hangs_up
):
    inverter = as_hybrid(encrypted_server(scripted))
    inverter.hangs_up = hangs_up
    await inverter.start()
    session = EncryptedModbus("127.0.0.1", inverter.port, unit=1, timeout=TIMEOUT, clock=Day())
    await session.open()
    await session.read(Kind.INPUT, 5000, 1)
    await session.close()
    inverter.offered = bytes(range(2, 18))
    await session.open()
    with pytest.raises(TransportError):
        await session.read(Kind.INPUT, 5000, 1)
    await session.close()
    await session.open()
    assert (await session.read(Kind.INPUT, 5000, 1))[0] == 0x0E03
    await session.close()
    await inverter.stop()


async def test_a_whole_collection_in_the_encrypted_variant_stays_within_123_words(run, scripted, as_hybrid):
    inverter = as_hybrid(encrypted_server(scripted))
    await inverter.start()
    application = run({"port": inverter.port, "connection": "sungrow", "level": 2})
    cycle = await application.collector.collect()
    assert cycle.snapshot.identity.serial == "A2290112345"
    assert max(count for function, _, count in inverter.requests if function in (3, 4)) <= 123
    assert inverter.connections == 2
    await inverter.stop()
