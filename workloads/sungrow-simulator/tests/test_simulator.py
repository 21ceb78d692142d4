"""Tests: the simulated inverter as a raw client and a physicist see it."""

import asyncio
import struct
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sungrow_simulator.inverter import Inverter
from sungrow_simulator.registers import encode_number
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.modbus import ModbusTcp

START = datetime(2026, 6, 1, 0, 0)


@given(st.integers(-(2**31), 2**31 - 1))
def test_a_signed_32_bit_value_has_its_low_word_first(value: int) -> None:
    low, high = encode_number("S32", value)
    assert struct.unpack(">i", struct.pack(">HH", high, low))[0] == value


@pytest.mark.parametrize("profile", ["SH10RT", "SG10RT"])
def test_a_day_obeys_physics(profile: str) -> None:
    plant = Inverter(profile, START).plant
    for _ in range(1439):
        total = plant.pv_total_wh
        plant.advance(60)
        f = plant.flows
        assert f.ac_w <= f.dc_w - f.battery_w
        assert f.ac_w == f.load_w + f.export_w
        assert plant.pv_total_wh >= total
    assert plant.pv_day_wh > 30000


def test_the_same_seed_gives_the_same_day() -> None:
    one, two = (Inverter("SH10RT", START, seed=7) for _ in range(2))
    one.plant.advance(50000)
    two.plant.advance(50000)
    assert one.words("input") == two.words("input")


async def ask(port: int, pdu: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack(">HHHB", 9, 0, len(pdu) + 1, 1) + pdu)
    head = struct.unpack(">HHHB", await reader.readexactly(7))
    reply = await reader.readexactly(head[2] - 1)
    writer.close()
    await writer.wait_closed()
    return reply


async def test_two_inverters_answer_a_raw_client_and_stop_frees_the_port() -> None:
    servers = [ModbusTcp(Answers(Inverter(p, START))) for p in ("SH10RT", "SG10RT")]
    for server in servers:
        await server.start()
    codes = [await ask(s.port, struct.pack(">BHH", 4, 4999, 1)) for s in servers]
    assert codes == [b"\x04\x02\x0e\x03", b"\x04\x02\x24\x33"]
    port = servers[0].port
    assert await ask(port, struct.pack(">BHH", 6, 13049, 2)) == struct.pack(">BHH", 6, 13049, 2)
    assert await ask(port, struct.pack(">BHH", 3, 13049, 1)) == b"\x03\x02\x00\x02"
    assert await ask(port, struct.pack(">BHH", 6, 4999, 2)) == b"\x86\x02"
    assert await ask(port, b"\x2b\x00") == b"\xab\x01"
    assert await ask(port, struct.pack(">BHH", 4, 4999, 126)) == b"\x84\x03"
    for server in servers:
        await server.stop()
    again = ModbusTcp(Answers(Inverter("SH10RT", START)))
    await again.start(port=port)
    await again.stop()
