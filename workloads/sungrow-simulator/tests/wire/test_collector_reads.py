"""Our own collector reads the simulator through every transport: two programs that share no protocol code."""

from __future__ import annotations

import ssl
from datetime import date, datetime

import pytest

from sungather.clock import SystemClock
from sungather.registers.register import Kind
from sungather.transports.encrypted import EncryptedModbus as EncryptedClient
from sungather.transports.modbus import ModbusTcp as ModbusClient
from sungather.transports.pins import Pins
from sungather.transports.transport import CertificateChanged, LoginRefused, Occupied, Refusal, SessionExpired
from sungather.transports.winet import WiNet as WinetClient
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.certificate import Certificate
from sungrow_simulator.wire.dongle import Device, Dongle
from sungrow_simulator.wire.encrypted import EncryptedModbus
from sungrow_simulator.wire.modbus import ModbusTcp
from sungrow_simulator.wire.winet import WinetPort

NOON = datetime(2026, 6, 1, 12, 0)
DEVICE = Device(model="SH10RT", type_code=0x0E03, serial="A2290300001", hybrid=True)


@pytest.fixture
def state() -> Answers:
    return Answers(Inverter("SH10RT", NOON))


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def read_all(client) -> tuple[int, ...]:
    """Type code, and what the documented addresses 13000 and 13001 hold."""
    await client.open()
    try:
        code = await client.read(Kind.INPUT, 5000, 1)
        return (*code, *await client.read(Kind.INPUT, 13000, 2))
    finally:
        await client.close()


async def test_plain_and_tls_give_the_same_words(state):
    certificate = Certificate("SH10RT")
    plain, secure = ModbusTcp(state), ModbusTcp(state, tls=certificate.context)
    await plain.start()
    await secure.start()
    pins = Pins({})
    one = await read_all(ModbusClient("127.0.0.1", plain.port, unit=1, timeout=2))
    over_tls = ModbusClient("127.0.0.1", secure.port, unit=1, timeout=2, tls=trusting(), pins=pins)
    assert one[0] == 0x0E03
    assert await read_all(over_tls) == one
    certificate.change()
    with pytest.raises(CertificateChanged):
        await over_tls.open()
    await plain.stop()
    await secure.stop()


@pytest.mark.parametrize("offer", ["key", "zeros", "ones"])
async def test_the_encrypted_variant_with_and_without_a_key(state, offer):
    server = EncryptedModbus(state, day=lambda: date(2026, 6, 1), serial="A1", offer=offer)
    await server.start()
    client = EncryptedClient("127.0.0.1", server.port, unit=1, timeout=2, clock=SystemClock())
    assert (await read_all(client))[0] == 0x0E03
    assert server.keys_fetched == 1
    await server.stop()


async def test_a_dongle_of_the_first_generation(state):
    dongle = Dongle(state, DEVICE)
    socket, web = WinetPort(dongle), WinetPort(dongle)
    await socket.start()
    await web.start()
    client = WinetClient("127.0.0.1", ws_port=socket.port, http_port=web.port, unit=1, timeout=2)
    assert (await read_all(client))[0] == 0x0E03
    await client.open()
    with pytest.raises(Refusal):
        await client.read(Kind.INPUT, 20000, 10)
    dongle.expire()
    with pytest.raises(SessionExpired):
        await client.read(Kind.INPUT, 5000, 1)
    await client.close()
    await socket.stop()
    await web.stop()


async def test_a_dongle_of_the_second_generation_wants_a_login_and_has_one_user(state):
    certificate = Certificate("WiNet-S2")
    dongle = Dongle(state, DEVICE, login=("admin", "pw8888"), users=1)
    port = WinetPort(dongle, tls=certificate.context)
    await port.start()

    def client(password: str) -> WinetClient:
        return WinetClient(
            "127.0.0.1",
            ws_port=port.port,
            http_port=port.port,
            unit=1,
            timeout=2,
            login=("admin", password),
            tls=trusting(),
        )

    assert (await read_all(client("pw8888")))[0] == 0x0E03
    with pytest.raises(LoginRefused):
        await client("wrong").open()
    first, second = client("pw8888"), client("pw8888")
    await first.open()
    await second.open()
    with pytest.raises((SessionExpired, Occupied)):
        await first.read(Kind.INPUT, 5000, 1)
    assert await second.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await first.close()
    await second.close()
    await port.stop()
