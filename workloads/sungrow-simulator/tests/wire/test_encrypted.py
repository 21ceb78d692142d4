"""The encrypted variant (acceptance points 43 and 53); the cipher on this side is the collector's own."""

from __future__ import annotations

import struct
from datetime import timedelta

import pytest

from sungather.registers.register import Kind
from sungather.transports.transport import BrokenReply, Refusal

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


async def test_a_whole_session_needs_two_connections_and_123_words_fit(plant):
    client = await plant.client("sungrow")
    await client.open()
    for _ in range(3):
        assert len(await client.read(Kind.INPUT, 5000, 123)) == 123
    with pytest.raises(Refusal) as refused:
        await client.read(Kind.INPUT, 5000, 124)
    assert refused.value.code == 3
    await client.close()
    assert plant.faults.counters["connections.sungrow"] == 2
    assert plant.faults.counters["keys"] == 1


async def test_at_the_inverters_midnight_the_key_changes_and_a_new_one_is_fetched(plant):
    client = await plant.client("sungrow")
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    plant.inverter.advance(timedelta(days=1).total_seconds())
    with pytest.raises(BrokenReply):
        await client.read(Kind.INPUT, 5000, 1)
    await client.close()
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()
    assert plant.faults.counters["keys"] == 2
