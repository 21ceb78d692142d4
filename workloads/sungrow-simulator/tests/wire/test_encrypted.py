"""The encrypted variant (acceptance points 43 and 53)."""

from __future__ import annotations

import struct
from datetime import timedelta

import pytest

CODE = (4, 5000, 1)
GET_KEY = bytes.fromhex("68680000 0006f704 0ae70008")


@pytest.mark.parametrize(("key", "given"), [("zeros", b"\0" * 16), ("ones", b"\xff" * 16)])
async def test_an_inverter_without_a_key_talks_plain(plant, raw, key, given):
    client = await raw((await plant.open("--sungrow", "0", "--key", key))["sungrow"])
    client.writer.write(GET_KEY)
    reply = await client.reader.readexactly(25)
    assert reply[9:] == given
    assert await client.ask(struct.pack(">BHH", 4, 4999, 1)) == b"\x04\x02\x0e\x03"


async def test_the_connection_that_fetched_the_key_ends_and_plain_frames_are_not_answered(plant, raw):
    port = (await plant.open("--sungrow", "0"))["sungrow"]
    client = await raw(port)
    client.writer.write(GET_KEY)
    assert len(await client.reader.readexactly(25)) == 25
    assert await client.ended()
    client = await raw(port)
    client.send(struct.pack(">BHH", 4, 4999, 1))
    assert await client.ended()


async def test_123_words_fit_into_an_answer_and_124_are_refused(line):
    here = await line("sungrow")
    await here.ask((4, 5000, 123))
    assert len(here.plain(await here.answer())) == 9 + 2 * 123
    await here.ask((4, 5000, 124))
    assert here.plain(await here.answer())[7:] == b"\x84\x03"


async def test_at_the_inverters_midnight_the_old_key_opens_nothing_and_a_new_one_does(plant, line):
    here = await line("sungrow")
    await here.ask(CODE)
    assert here.plain(await here.answer())[7:] == b"\x04\x02\x0e\x03"
    plant.inverter.advance(timedelta(days=1).total_seconds())
    await here.ask(CODE)
    assert await here.ended()
    await here.connect()
    await here.ask(CODE)
    assert here.plain(await here.answer())[7:] == b"\x04\x02\x0e\x03"
    assert plant.faults.counters["keys"] == 2


async def test_a_plain_question_other_than_that_for_the_key_ends_the_connection(plant, raw):
    client = await raw((await plant.open("--sungrow", "0"))["sungrow"])
    client.send(struct.pack(">BHH", 4, 4999, 4), transaction=0x6868)
    assert await client.ended()
    assert plant.faults.counters["keys"] == 0


@pytest.mark.parametrize("fault", ["silent", "half"])
async def test_who_got_no_key_or_half_of_one_may_wait_and_ask_again(plant, raw, fault):
    client = await raw((await plant.open("--sungrow", "0"))["sungrow"])
    plant.faults.add(fault, times=1)
    client.writer.write(GET_KEY)
    client.writer.write(GET_KEY)
    if fault == "half":
        await client.reader.readexactly(12)
    assert (await client.reader.readexactly(25))[:9] == bytes.fromhex("68680000 0013f704 10")
    assert await client.ended()
