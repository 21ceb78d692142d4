"""Our own collector reads the simulator through every transport: two programs that share no protocol code."""

from __future__ import annotations

import asyncio

import pytest

from sungather.registers.register import Kind
from sungather.transports.pins import Pins
from sungather.transports.transport import (
    BrokenReply,
    CertificateChanged,
    LoginRefused,
    NoReply,
    Occupied,
    Refusal,
    SessionExpired,
    TransportError,
    Unreachable,
)

CONNECTIONS = ["modbus", "tls", "sungrow", "http", "https"]
LOST = (BrokenReply, NoReply, Unreachable)


def tries(connection: str) -> int:
    """The collector's HTTP library asks once more by itself when a connection ends without an answer."""
    return 2 if connection in ("http", "https") else 1


@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_every_transport_gives_the_words_of_the_one_register_state(plant, connection):
    client = await plant.client(connection)
    await client.open()
    words = plant.inverter.words("input")
    for first in (4990, 5000, 13000):
        read = await client.read(Kind.INPUT, first, 20)
        assert read == tuple(words.get(address, 0) for address in range(first, first + 20))
    assert (await client.read(Kind.HOLDING, 5000, 1))[0] == 2026
    with pytest.raises(Refusal):
        await client.read(Kind.INPUT, 29000, 5)
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()


@pytest.mark.parametrize("fault", ["reset", "silent", "slow", "half", "garbage", "oversize", "short"])
@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_a_spoiled_answer_ends_the_attempt_in_time_and_the_next_session_works(plant, connection, fault):
    client = await plant.client(connection)
    await client.open()
    plant.faults.add(fault, times=tries(connection))
    began = asyncio.get_running_loop().time()
    with pytest.raises(LOST):
        await client.read(Kind.INPUT, 5000, 10)
    assert asyncio.get_running_loop().time() - began < 1.5
    await client.close()
    plant.faults.clear()
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()
    assert plant.faults.counters[f"faults.{fault}"] >= 1


@pytest.mark.parametrize("fault", ["wrong-transaction", "wrong-unit"])
@pytest.mark.parametrize("connection", ["modbus", "tls", "sungrow"])
async def test_an_answer_to_somebody_else_is_not_taken(plant, connection, fault):
    client = await plant.client(connection)
    await client.open()
    plant.faults.add(fault, times=1)
    with pytest.raises(BrokenReply):
        await client.read(Kind.INPUT, 5000, 10)
    await client.close()
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 11])
@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_an_exception_is_a_refusal_and_the_session_goes_on(plant, connection, code):
    client = await plant.client(connection)
    await client.open()
    plant.faults.add(f"exception-{code}", times=1)
    with pytest.raises(Refusal) as refused:
        await client.read(Kind.INPUT, 5000, 10)
    assert connection in ("http", "https") or refused.value.code == code
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()


@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_a_refused_connection_is_an_error_and_the_next_one_works(plant, connection):
    client = await plant.client(connection)
    plant.faults.add("refuse", times=tries(connection))
    with pytest.raises(TransportError):
        await client.open()
        await client.read(Kind.INPUT, 5000, 1)
    await client.close()
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()


@pytest.mark.parametrize("connection", ["tls", "https"])
async def test_a_certificate_that_changes_is_noticed(plant, connection):
    client = await plant.client(connection)
    await client.open()
    await client.close()
    plant.faults.add("certificate-changed", times=1)
    with pytest.raises(TransportError):
        await client.open()
        await client.read(Kind.INPUT, 5000, 1)
    await client.close()
    with pytest.raises(CertificateChanged):
        await client.open()


@pytest.mark.parametrize("connection", ["http", "https"])
async def test_an_expired_token_ends_the_session_and_a_new_one_works(plant, connection):
    client = await plant.client(connection)
    await client.open()
    plant.faults.add("token-expired", times=1)
    with pytest.raises(SessionExpired):
        await client.read(Kind.INPUT, 5000, 1)
    await client.close()
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()


async def test_a_login_is_refused_for_a_wrong_password_and_by_the_schedule(plant):
    with pytest.raises(LoginRefused):
        await (await plant.client("https", password="wrong")).open()
    client = await plant.client("https", pins=Pins({}))
    plant.faults.add("login-refused", times=1)
    with pytest.raises(LoginRefused):
        await client.open()
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()


@pytest.mark.parametrize("connection", ["http", "https"])
async def test_a_dongle_that_another_user_takes_ends_the_session(plant, connection):
    client = await plant.client(connection)
    plant.faults.add("taken-over", times=1, skip={"http": 1, "https": 2}[connection])
    with pytest.raises((Occupied, SessionExpired)):
        await client.open()
    await client.close()
    await client.open()
    assert await client.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await client.close()
