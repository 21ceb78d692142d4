"""Opening: which transports the command line asks for, and the servers that then run."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from sungrow_simulator.faults import Faults
from sungrow_simulator.wire.certificate import Certificate
from sungrow_simulator.wire.dongle import Device, Dongle
from sungrow_simulator.wire.encrypted import EncryptedModbus
from sungrow_simulator.wire.listener import Listener, RegisterState
from sungrow_simulator.wire.modbus import ModbusTcp
from sungrow_simulator.wire.winet import WinetPort

PORTS = {
    "modbus": "plain Modbus TCP (an inverter: 502)",
    "tls": "Modbus TCP inside TLS (an inverter: 516)",
    "sungrow": 'encrypted Modbus TCP, connection "sungrow" (an inverter: 502)',
    "winet": "WebSocket of an old WiNet-S (a dongle: 8082)",
    "winet-http": "web pages of an old WiNet-S (a dongle: 80)",
    "winet2": "WebSocket and web pages of a WiNet-S2 (a dongle: 443)",
}


class ListenError(OSError):
    """Nothing can listen there; the text names the option, the place and what to do."""

    def __init__(self, option: str, host: str, port: int, error: OSError) -> None:
        if isinstance(error, socket.gaierror):
            text = f"--host {host}: {error.strerror}"
        elif error.errno in (errno.EADDRINUSE, errno.EACCES):
            why = os.strerror(error.errno).lower()
            text = f"--{option} {port}: {host}:{port}: {why}; choose another port, or 0 for a free one"
        else:
            text = f"--host {host}: {os.strerror(error.errno or 0).lower()}; it must be an address of this machine"
        super().__init__(text)


def add_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The options that say what listens, and where."""
    group = parser.add_argument_group("transports", "a port of 0 takes a free one; none given: --modbus 0")
    for name, what in PORTS.items():
        group.add_argument(f"--{name}", type=port_number, metavar="PORT", help=what)
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    group.add_argument("--connections", type=_at_least_one, metavar="N", default=4, help="most connections to a Modbus port at once (default %(default)s)")  # fmt: skip
    group.add_argument("--key", choices=["key", "zeros", "ones"], default="key", help="what the encrypted variant offers; zeros and ones mean no encryption")  # fmt: skip
    group.add_argument("--login", type=_login, default="admin:pw8888", metavar="USER:PASSWORD", help="of the WiNet-S2 (default %(default)s)")  # fmt: skip
    return group


@dataclass
class Servers:
    """What runs: listeners by the names of PORTS."""

    listeners: dict[str, Listener] = field(default_factory=dict)

    async def stop(self) -> None:
        """Free every port."""
        await asyncio.gather(*(listener.stop() for listener in self.listeners.values()))

    def __str__(self) -> str:
        return ", ".join(f"{name} {at.host}:{at.port}" for name, at in self.listeners.items())


async def start(
    options: argparse.Namespace,
    state: RegisterState,
    device: Device,
    day: Callable[[], date],
    faults: Faults,
) -> Servers:
    """Start what `add_arguments` let the person choose; all or nothing. `day` is the inverter's own date."""
    servers = Servers()
    asked = {name: getattr(options, name.replace("-", "_")) for name in PORTS}
    if all(port is None for port in asked.values()):
        asked["modbus"] = 0
    old, new = Dongle(state, device), Dongle(state, device, login=options.login, users=1)
    most: int = options.connections
    made: dict[str, Callable[[], Listener]] = {
        "modbus": lambda: ModbusTcp(state, faults, connections=most),
        "tls": lambda: ModbusTcp(
            state, faults, name="tls", connections=most, certificate=Certificate(device.model)
        ),
        "sungrow": lambda: EncryptedModbus(
            state, faults, day=day, serial=device.serial, offer=options.key, connections=most
        ),
        "winet": lambda: WinetPort(old, faults),
        "winet-http": lambda: WinetPort(old, faults, name="winet-http"),
        "winet2": lambda: WinetPort(new, faults, name="winet2", certificate=Certificate("WiNet-S2")),
    }
    try:
        for name, port in asked.items():
            if port is not None:
                listener = made[name]()
                try:
                    await listener.start(options.host, port)
                except OSError as error:
                    raise ListenError(name, options.host, port, error) from None
                servers.listeners[name] = listener
    except ListenError:
        await servers.stop()
        raise
    return servers


def port_number(text: str) -> int:
    """An option's value as a port, 0 to 65535."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: allowed are 0 to 65535")
    return int(text)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _login(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon):
        raise argparse.ArgumentTypeError(f"{text!r} is no login: write USER:PASSWORD")
    return user, password
