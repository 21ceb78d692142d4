"""The transport that the settings ask for."""

from __future__ import annotations

import ssl

from sungather.clock import Clock
from sungather.configuration.settings import InverterSettings
from sungather.transports.encrypted import EncryptedModbus
from sungather.transports.modbus import ModbusTcp
from sungather.transports.pins import Pins
from sungather.transports.transport import Transport
from sungather.transports.winet import WiNet


def transport(settings: InverterSettings, clock: Clock, pins: Pins) -> Transport:
    """A closed transport of the configured kind."""
    host, port, unit, timeout = settings.host, settings.port, settings.slave, settings.timeout
    match settings.connection:
        case "modbus":
            return ModbusTcp(host, port, unit=unit, timeout=timeout)
        case "tls":
            return ModbusTcp(host, port, unit=unit, timeout=timeout, tls=_self_signed(), pins=pins)
        case "sungrow":
            return EncryptedModbus(host, port, unit=unit, timeout=timeout, clock=clock)
        case "http":
            return WiNet(host, ws_port=port, http_port=settings.http_port or 80, unit=unit, timeout=timeout)
        case "https":
            return WiNet(
                host,
                ws_port=port,
                http_port=settings.http_port or port,
                unit=unit,
                timeout=timeout,
                login=(settings.username, settings.password),
                tls=_self_signed(),
                pins=pins,
            )
    raise ValueError(f"connection {settings.connection!r}")


def _self_signed() -> ssl.SSLContext:
    """Encryption without an authority: the device signs its own certificate, which Pins remembers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
