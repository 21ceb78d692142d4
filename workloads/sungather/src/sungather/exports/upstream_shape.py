"""Upstream SunGather's names for settings and model, as they stand in its messages, lines and pages."""

from __future__ import annotations

from typing import Any

from sungather.configuration.settings import InverterSettings
from sungather.registers.scan import Identity


def inverter_config(inverter: InverterSettings, identity: Identity) -> dict[str, Any]:
    """Upstream's inverter settings, as they stand in its messages and in /json."""
    return {
        "model": identity.model,
        "serial_number": identity.serial,
        "level": inverter.level,
        "scan_interval": inverter.scan_interval,
        "use_local_time": inverter.use_local_time,
        "smart_meter": inverter.smart_meter,
        "connection": inverter.connection,
        "slave": inverter.slave,
        "start_time": "",
    }


def client_config(inverter: InverterSettings) -> dict[str, Any]:
    """Upstream's client settings, as they stand in its messages and in /json."""
    return {
        "host": inverter.host,
        "port": inverter.port,
        "timeout": inverter.timeout,
        "retries": inverter.retries,
        "RetryOnEmpty": False,
    }


def clean_model(identity: Identity) -> str:
    """SH10RT-20 as SH10RT20: the model in discovery and in the inverter tag."""
    return (identity.model or "unknown").replace(".", "").replace("-", "")
