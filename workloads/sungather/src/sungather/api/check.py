"""What stands between the collector and an inverter, step by step: name, TCP, handshake or login, type code.

Other settings than those of the config file can be tried, without changing it, while no other session is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from sungather.api.parameters import ActionError, Parameters
from sungather.application import Application
from sungather.configuration.settings import DEFAULT_PORTS, InverterSettings, is_host
from sungather.errors import os_reason
from sungather.registers.register import Kind
from sungather.transports.transport import TransportError, Unreachable

_SECOND_STEP = {"tls": "tls", "sungrow": "key", "http": "session", "https": "login"}
"""What opening a session takes after TCP, by connection."""

Step = dict[str, Any]


def settings_to_check(application: Application, given: dict[str, Any]) -> InverterSettings:
    """The config's, but for what is given; another connection has its own usual port."""
    parameters = Parameters(given, "host", "port", "connection", "unit-id")
    current = application.settings.inverter
    host = parameters.text("host", current.host).strip()
    if not is_host(host):
        raise ActionError(f"host is {host!r}, which is not a host name or address")
    connection = parameters.text("connection", current.connection, choices=tuple(DEFAULT_PORTS))
    usual = current.port if connection == current.connection else DEFAULT_PORTS[connection]
    return replace(
        current,
        host=host,
        connection=connection,
        port=parameters.whole("port", usual, 1, 65535),
        slave=parameters.whole("unit-id", current.slave, 0, 255),
    )


async def check(application: Application, settings: InverterSettings) -> dict[str, Any]:
    """Go as far as it goes. Nobody else talks to the inverter meanwhile."""
    steps: list[Step] = []
    code = None
    async with application.session.exclusive_turn():
        transport = application.new_transport(settings)
        loop = asyncio.get_running_loop()
        try:
            await _step(steps, "dns", loop.getaddrinfo(settings.host, settings.port))
            await _step(steps, "tcp", transport.open())
            words = await _step(steps, "type-code", transport.read(Kind.INPUT, 5000, 1))
            code = words[0]
        except (TransportError, OSError):
            pass  # the step says it
        finally:
            await transport.close()
    device = application.catalogue.device(code) if code is not None else None
    _tell_sessions_apart(steps, settings.connection)
    return {
        "ok": all(s["ok"] for s in steps),
        "steps": steps,
        "type_code": f"0x{code:04X}" if code is not None else None,
        "model": device.model if device else None,
    }


async def _step(steps: list[Step], name: str, doing: Awaitable[Any]) -> Any:
    """Do it, and note how it went and how long it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    entry: Step = {"step": name, "ok": True}
    steps.append(entry)
    try:
        return await doing
    except (TransportError, OSError) as error:
        entry |= {
            "ok": False,
            "class": getattr(error, "label", "dns"),
            "error": os_reason(error) if isinstance(error, OSError) else str(error),
            "hint": getattr(error, "hint", "check the host name"),
        }
        raise
    finally:
        entry["milliseconds"] = round((loop.time() - started) * 1000, 1)


def _tell_sessions_apart(steps: list[Step], connection: str) -> None:
    """Opening is two steps where more than TCP is needed: what failed after TCP failed in the second."""
    if connection == "modbus" or len(steps) < 2:
        return
    tcp = steps[1]
    second = {**tcp, "step": _SECOND_STEP[connection]}
    if tcp["ok"]:
        steps.insert(2, {"step": second["step"], "ok": True, "milliseconds": 0.0})
    elif tcp["class"] != Unreachable.label:
        steps[1:2] = [{"step": "tcp", "ok": True, "milliseconds": 0.0}, second]
