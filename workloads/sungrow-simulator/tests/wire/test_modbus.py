"""Plain Modbus TCP as a raw client sees it (acceptance points 53 and 55)."""

from __future__ import annotations

import asyncio
import struct

import pytest

TYPE_CODE = struct.pack(">BHH", 4, 4999, 1)


async def test_requests_that_come_at_once_are_answered_in_their_order(plant, raw):
    client = await raw((await plant.open())["modbus"])
    for transaction in (11, 12, 13):
        client.send(TYPE_CODE, transaction=transaction)
    replies = [await client.reply() for _ in range(3)]
    assert replies == [(transaction, 1, b"\x04\x02\x0e\x03") for transaction in (11, 12, 13)]


async def test_a_frame_may_come_in_pieces(plant, raw):
    client = await raw((await plant.open())["modbus"])
    frame = struct.pack(">HHHB", 7, 0, len(TYPE_CODE) + 1, 1) + TYPE_CODE
    for at in range(0, len(frame), 5):
        client.writer.write(frame[at : at + 5])
        await client.writer.drain()
        await asyncio.sleep(0.01)
    assert await client.reply() == (7, 1, b"\x04\x02\x0e\x03")


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"\x2b\x0e\x01\x00", b"\xab\x01"),
        (struct.pack(">BHH", 4, 29999, 1), b"\x84\x02"),
        (struct.pack(">BHH", 4, 4999, 126), b"\x84\x03"),
        (struct.pack(">BHH", 3, 4999, 0), b"\x83\x03"),
        (struct.pack(">BHH", 6, 4999, 1), b"\x86\x02"),
        (b"\x04\x13", b"\x84\x03"),
    ],
)
async def test_what_cannot_be_answered_gets_the_right_exception_and_the_session_goes_on(
    plant, raw, request_, reply
):
    client = await raw((await plant.open())["modbus"])
    assert await client.ask(request_) == reply
    assert await client.ask(TYPE_CODE) == b"\x04\x02\x0e\x03"


async def test_a_unit_that_is_not_there_does_not_answer(plant, raw):
    client = await raw((await plant.open())["modbus"])
    client.send(TYPE_CODE, transaction=1, unit=9)
    client.send(TYPE_CODE, transaction=2)
    assert (await client.reply())[0] == 2


@pytest.mark.parametrize("header", [b"\0\1\0\7\0\6\1", b"\0\1\0\0\0\1\1", b"\0\1\0\0\xff\xff\1", b"GET / H"])
async def test_a_stream_that_is_not_modbus_ends(plant, raw, header):
    client = await raw((await plant.open())["modbus"])
    client.writer.write(header)
    assert await client.ended()


async def test_a_connection_beyond_the_limit_is_turned_away_until_another_ends(plant, raw):
    port = (await plant.open("--modbus", "0", "--connections", "2"))["modbus"]
    first, second = await raw(port), await raw(port)
    assert await first.ask(TYPE_CODE) == await second.ask(TYPE_CODE)
    third = await raw(port)
    assert await third.ended()
    assert plant.faults.counters["turned-away.modbus"] == 1
    first.writer.close()
    assert await (await raw(port)).ask(TYPE_CODE) == b"\x04\x02\x0e\x03"


async def test_stop_frees_every_port_also_with_clients_on_it(plant, raw):
    names = ("modbus", "tls", "sungrow", "winet", "winet-http", "winet2")
    ports = await plant.open(*(part for name in names for part in (f"--{name}", "0")))
    assert set(ports) == set(names)
    client = await raw(ports["modbus"])
    await client.ask(TYPE_CODE)
    await plant.close()
    assert await client.ended()
    again = await plant.open(*(part for name in names for part in (f"--{name}", str(ports[name]))))
    assert again == ports


async def test_stop_does_not_wait_for_a_handshake_that_never_ends(plant, raw):
    ports = await plant.open("--tls", "0", "--winet2", "0")
    for port in ports.values():
        await raw(port)
    async with asyncio.timeout(120):
        await plant.close()
    assert await plant.open("--tls", str(ports["tls"]), "--winet2", str(ports["winet2"])) == ports


async def test_a_port_that_is_taken_leaves_none_of_the_others_open(plant):
    taken = (await plant.open())["modbus"]
    with pytest.raises(OSError, match="address already in use"):
        await plant.open("--tls", "0", "--sungrow", str(taken))


async def test_many_inverters_in_one_process_do_not_meet(plant, raw):
    ports = [(await plant.open())["modbus"] for _ in range(20)]
    assert len(set(ports)) == 20
    clients = [await raw(port) for port in ports]
    replies = await asyncio.gather(*(client.ask(TYPE_CODE) for client in clients))
    assert set(replies) == {b"\x04\x02\x0e\x03"}


async def test_connections_requests_and_writes_are_counted(plant, raw):
    client = await raw((await plant.open())["modbus"])
    await client.ask(TYPE_CODE)
    await client.ask(struct.pack(">BHH", 6, 13049, 2))
    counted = plant.faults.counters
    assert (counted["connections.modbus"], counted["requests.modbus"], counted["writes"]) == (1, 2, 1)
