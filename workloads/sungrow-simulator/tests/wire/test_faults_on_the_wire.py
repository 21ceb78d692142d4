"""What the schedule of faults does to each port, byte by byte, as a raw client sees it (acceptance point 57)."""

from __future__ import annotations

import asyncio
import struct

import pytest

KINDS = ["modbus", "tls", "sungrow", "winet-http", "winet2", "winet", "winet2 talk"]
MODBUS = ["modbus", "tls", "sungrow"]
PAGES = ["winet-http", "winet2"]
CODE, SERIAL, CLOCK = (4, 5000, 1), (4, 4990, 10), (3, 5000, 6)
"""Function, documented address, count."""


@pytest.fixture
def met(line):
    """A line whose port has answered once, and that answer."""

    async def connect(name: str):
        here = await line(name)
        await here.ask(CODE)
        return here, await here.answer()

    return connect


def injected(plant, fault: str) -> int:
    return plant.faults.counters[f"faults.{fault}"]


@pytest.mark.parametrize("name", KINDS)
async def test_reset_ends_the_connection_without_a_farewell(plant, met, name):
    here, _ = await met(name)
    plant.faults.add("reset", times=1)
    await here.ask(CODE)
    with pytest.raises(ConnectionResetError):
        await here.get(1)
    assert injected(plant, "reset") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_silent_leaves_out_one_answer_and_the_next_one_comes(plant, met, name):
    here, good = await met(name)
    plant.faults.add("silent", times=1)
    await here.ask(SERIAL)
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "silent") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_half_an_answer_is_followed_by_nothing_of_it(plant, met, name):
    here, good = await met(name)
    plant.faults.add("half", times=1)
    await here.ask(CODE)
    await here.ask(CODE)
    assert await here.get(len(good) // 2 + len(good)) == good[: len(good) // 2] + good
    assert injected(plant, "half") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_a_slow_answer_comes_byte_by_byte_and_none_is_wrong(plant, met, name, monkeypatch):
    monkeypatch.setattr("sungrow_simulator.wire.spoiling.DRIP", 0.001)
    here, good = await met(name)
    written = []
    real = asyncio.StreamWriter.write
    monkeypatch.setattr(asyncio.StreamWriter, "write", lambda w, data: (written.append(data), real(w, data)))
    plant.faults.add("slow", times=1)
    await here.ask(CODE)
    assert await here.answer() == good
    assert written[1:] == [good[at : at + 1] for at in range(len(good))]
    assert injected(plant, "slow") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_garbage_is_no_answer_and_the_same_each_time(plant, met, name):
    here, good = await met(name)
    plant.faults.add("garbage", times=2)
    await here.ask(CODE)
    await here.ask(CODE)
    await here.ask(CODE)
    first, second = await here.get(32), await here.get(32)
    assert first == second != good[:32]
    assert await here.answer() == good
    assert injected(plant, "garbage") == 2


@pytest.mark.parametrize("name", MODBUS)
async def test_wrong_transaction_and_wrong_unit_change_only_that(plant, met, name):
    here, good = await met(name)
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
async def test_an_exception_comes_instead_of_the_answer(plant, met, name, code):
    here, good = await met(name)
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
async def test_short_leaves_the_last_word_out(plant, met, name):
    here, _ = await met(name)
    await here.ask(SERIAL)
    good = here.plain(await here.answer())
    plant.faults.add("short", times=1)
    await here.ask(SERIAL)
    short = here.plain(await here.answer())
    assert short[4:6] == (len(good) - 8).to_bytes(2, "big")
    assert short[6:] == good[6:8] + bytes((18,)) + good[9:-2]


@pytest.mark.parametrize("name", MODBUS)
async def test_oversize_says_a_length_that_no_frame_has(plant, met, name):
    here, good = await met(name)
    plant.faults.add("oversize", times=1)
    await here.ask(CODE)
    whole = here.plain(await here.get(len(good)))
    assert whole[4:6] == b"\xff\xff"
    assert whole[6:] == here.plain(good)[6:]


@pytest.mark.parametrize("name", PAGES)
async def test_oversize_of_a_page_says_that_more_comes_than_does(plant, met, name):
    here, good = await met(name)
    plant.faults.add("oversize", times=1)
    await here.ask(CODE)
    async with asyncio.timeout(60):
        head = await here.reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 1000000000\r\n" in head
    body = good.split(b"\r\n\r\n")[1]
    assert await here.get(len(body)) == body


@pytest.mark.parametrize("name", ["winet", "winet2 talk"])
async def test_oversize_of_a_message_says_that_more_comes_than_does(plant, met, name):
    here, good = await met(name)
    plant.faults.add("oversize", times=1)
    await here.ask(CODE)
    assert await here.get(10) == b"\x81\x7f" + (1 << 62).to_bytes(8, "big")
    text = good[good.index(b"{") :]
    assert await here.get(len(text)) == text


@pytest.mark.parametrize("name", PAGES)
async def test_a_dongle_says_of_an_exception_that_it_cannot_read_and_shortens_too(plant, met, name):
    here, _ = await met(name)
    plant.faults.add("exception-2", times=1)
    plant.faults.add("short", times=1)
    await here.ask(SERIAL)
    assert here.said(await here.answer())["result_code"] == 301
    await here.ask(SERIAL)
    assert len(bytes.fromhex(here.said(await here.answer())["result_data"]["param_value"])) == 18
    await here.ask(SERIAL)
    assert len(bytes.fromhex(here.said(await here.answer())["result_data"]["param_value"])) == 20


@pytest.mark.parametrize("name", PAGES)
async def test_an_expired_token_is_106_on_page_and_socket_until_the_next_login(plant, met, name):
    here, good = await met(name)
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
async def test_another_user_puts_out_those_who_are_here_with_notice_100(plant, met, name):
    here, good = await met(name)
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
async def test_who_is_put_out_while_asking_gets_the_notice_and_no_answer(plant, met, name):
    here, _ = await met(name)
    plant.faults.add("taken-over", times=1)
    await here.ask(CODE)
    assert here.said(await here.answer())["result_code"] == 100
    assert (await here.get(4))[:1] == b"\x88"
    assert await here.ended()


async def test_a_login_is_refused_once_and_then_accepted(plant, met):
    here, _ = await met("winet2 talk")
    await here.dial()
    plant.faults.add("login-refused", times=1)
    await here.upgrade()
    assert await here.enter("login", username="admin", passwd="pw8888") != 1
    assert injected(plant, "login-refused") == 1
    assert await here.enter("login", username="admin", passwd="pw8888") == 1


@pytest.mark.parametrize("name", KINDS)
async def test_a_refused_connection_ends_at_once_and_the_next_one_works(plant, met, name):
    here, good = await met(name)
    plant.faults.add("refuse", times=1, port=name.split()[0])
    await here.dial()
    assert await here.ended()
    await here.connect()
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "refuse") == 1


@pytest.mark.parametrize("name", ["tls", "winet2"])
async def test_a_certificate_changes_from_the_next_connection_on(plant, met, name):
    here, good = await met(name)
    first = here.certificate()
    await here.dial()
    await here.ask(CODE)
    assert await here.answer() == good  # the port has met this connection, and not only its handshake
    assert here.certificate() == first
    plant.faults.add("certificate-changed", times=1)
    await here.dial()
    assert here.certificate() == first
    assert await here.ended()
    await here.connect()
    assert here.certificate() != first
    await here.ask(CODE)
    assert await here.answer() == good


@pytest.mark.parametrize("name", ["modbus", "sungrow", "winet-http", "winet"])
async def test_a_port_without_a_certificate_waits_for_one_that_has_it(plant, met, name):
    here, good = await met(name)
    plant.faults.add("certificate-changed", times=1)
    await here.connect()
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "certificate-changed") == 0
    assert len(plant.faults.rules) == 1


@pytest.mark.parametrize("name", KINDS)
async def test_what_has_no_meaning_on_a_port_does_not_meet_it(plant, met, name):
    here, good = await met(name)
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
async def test_a_fault_of_one_function_leaves_the_others_alone(plant, met, name):
    here, good = await met(name)
    plant.faults.add("silent", function=3)
    await here.ask(CLOCK)
    await here.ask(CODE)
    assert await here.answer() == good
    assert injected(plant, "silent") == 1
    assert plant.faults.counters[f"requests.{name}"] == 3


@pytest.mark.parametrize("name", MODBUS)
async def test_a_schedule_begins_and_ends_by_the_inverters_clock(plant, met, name):
    here, _ = await met(name)
    plant.faults.add("exception-6", begin=plant.inverter.now.replace(hour=12, minute=10), seconds=60)
    codes = []
    for _ in range(3):
        await here.ask(CODE)
        codes.append(here.plain(await here.answer())[7])
        plant.inverter.advance(610 if not codes[1:] else 60)
    assert codes == [4, 0x84, 4]
