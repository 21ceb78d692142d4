"""Home Assistant discovery messages, with upstream's topics and unique ids, so that existing entities stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OURS = ("register", "sensor_type", "dev_class", "unit_of_measurement", "unique_id")


def clean(name: str) -> str:
    return name.lower().replace(" ", "_")


def topic(sensor: Mapping[str, Any], serial: str) -> str:
    return f"homeassistant/{sensor['sensor_type']}/{serial}_{clean(sensor['name'])}/config"


def payload(
    sensor: Mapping[str, Any],
    *,
    serial: str,
    model: str,
    host: str,
    state_topic: str,
    unit: str,
    availability_topic: str | None,
) -> dict[str, Any]:
    """What upstream publishes for this sensor; additions: availability, and dev_class read as device_class."""
    register = sensor.get("register")
    message: dict[str, Any] = {"state_topic": state_topic}
    if register:
        message["value_template"] = "{{ value_json." + str(register) + " }}"
    message.update({key: value for key, value in sensor.items() if key not in _OURS and value})
    if sensor.get("dev_class") and "device_class" not in message:
        message["device_class"] = sensor["dev_class"]
    message["unique_id"] = f"sungather_{clean(sensor['name'])}_{serial}"
    unit = unit or (sensor.get("unit_of_measurement") or "")
    if unit:
        message["unit_of_measurement"] = unit
    message["device"] = {
        "name": f"Sungrow {model}",
        "manufacturer": "Sungrow",
        "model": model,
        "identifiers": serial,
        "via_device": "SunGather",
        "connections": [["address", host]],
    }
    if availability_topic and "availability_topic" not in message and "availability" not in message:
        message["availability_topic"] = availability_topic
    return message
