"""The settings that the rest of the collector reads, made from a checked config file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from sungather.configuration import document as documents
from sungather.configuration.document import Document

DEFAULT_PORTS = {"modbus": 502, "sungrow": 502, "tls": 516, "http": 8082, "https": 443}
MASK = "********"


@dataclass(frozen=True)
class InverterSettings:
    """`inverter:` of the config file. port is the effective one."""

    host: str
    port: int
    timeout: float = 10
    retries: int = 3
    slave: int = 1
    scan_interval: float = 30
    connection: str = "modbus"
    model: str | None = None
    serial: str | None = None
    smart_meter: bool = False
    use_local_time: bool = False
    log_console: str = "WARNING"
    log_file: str = "OFF"
    level: int = 1
    username: str = "admin"
    password: str = "pw8888"
    http_port: int | None = None
    certificate: str = ""


@dataclass(frozen=True)
class ExportSettings:
    """One enabled entry of `exports:`. `name` is unique; `type` says which export it is."""

    name: str
    type: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class CollectorSettings:
    """`collector:` of the config file: what upstream has no words for."""

    state_folder: Path
    outbox_items: int = 100_000
    outbox_megabytes: int = 256
    listen: str | None = None
    path_prefix: str = ""
    api_token: str | None = None
    allow_control: bool = False
    control_minutes: int = 240
    history_days: int = 40


@dataclass(frozen=True)
class Settings:
    """Everything from one config file."""

    path: Path
    inverter: InverterSettings
    exports: tuple[ExportSettings, ...]
    collector: CollectorSettings
    warnings: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    """The line of each key that the file has."""
    masked: Mapping[str, Any] = field(default_factory=dict)
    """The effective config with secrets masked, for support."""


def load(path: Path) -> Settings:
    """Settings from a config file; ConfigError says what is wrong, where."""
    document = documents.read(path)
    allowed = documents.keys()
    foreign = [str(key) for key in document.data if key not in allowed]
    warnings = [documents.unknown(document, key, key, allowed) for key in foreign]
    warnings += [
        f"{path}, line {line}: {key} is written twice; this line counts" for key, line in document.repeated
    ]
    if not document.data.get("inverter"):
        raise document.error("inverter", "is missing: it needs at least host:")
    given = documents.check(document, "inverter", document.data["inverter"], allowed["inverter"], warnings)
    inverter = _inverter(document, given)
    exports = _exports(document, warnings)
    ours = documents.check(
        document, "collector", document.data.get("collector"), allowed["collector"], warnings
    )
    folder = Path(ours["state_folder"]).expanduser() if ours["state_folder"] else _state_folder(inverter)
    if ours["listen"]:
        listen_address(document, ours["listen"])
    collector = CollectorSettings(**{**ours, "state_folder": folder})
    masked = {
        "inverter": _masked(given | {"port": inverter.port}, allowed["inverter"]),
        "exports": [{"name": e.name} | _masked(e.options, allowed["exports"][e.type]) for e in exports],
        "collector": _masked(ours | {"state_folder": str(folder)}, allowed["collector"]),
    }
    return Settings(path, inverter, tuple(exports), collector, tuple(warnings), document.lines, masked)


def _inverter(document: Document, given: dict[str, Any]) -> InverterSettings:
    host = given["host"].strip()
    if not is_host(host):
        raise document.error("inverter.host", f"{host!r} is not a host name or address (no http://, no path)")
    port = given["port"]
    connection = given["connection"]
    # upstream's files often carry port 502 with connection http, where the client ignores it
    effective = (
        DEFAULT_PORTS[connection]
        if port is None or (connection in ("http", "https") and port == 502)
        else port
    )
    certificate = given["certificate"].replace(":", "").lower()
    if certificate not in ("", "any") and not re.fullmatch(r"[0-9a-f]{64}", certificate):
        raise document.error("inverter.certificate", "must be a SHA-256 fingerprint (64 hex digits) or any")
    return InverterSettings(**{**given, "host": host, "port": effective})


def is_host(text: str) -> bool:
    """True for what a name server or the machine could make sense of: an address, or a name in labels of 1 to 63."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return re.fullmatch(r"[\w.:%-]{1,253}", text) is not None


def _exports(document: Document, warnings: list[str]) -> list[ExportSettings]:
    listed = document.data.get("exports")
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise document.error("exports", "must be a list of entries that start with - name:")
    known: dict[str, Any] = documents.keys()["exports"]
    exports: list[ExportSettings] = []
    for index, entry in enumerate(listed):
        where = f"exports[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise document.error(where, f"must be a mapping with name: one of {', '.join(known)}")
        kind = entry["name"]
        enabled = entry.get("enabled", False)
        if isinstance(enabled, str) and enabled.lower() in ("true", "false"):
            enabled = enabled.lower() == "true"
        if enabled is not None and not isinstance(enabled, bool):
            raise document.error(f"{where}.enabled", f"must be true or false, not {enabled!r}")
        if kind not in known:
            line = document.lines.get(f"{where}.name")
            warnings.append(
                f"{document.path}, line {line}: unknown export {kind} is ignored; there are: {', '.join(known)}"
                + documents.nearest(kind, known)
            )
            continue
        if not enabled:
            continue
        options = documents.check(document, where, entry, known[kind], warnings)
        same = sum(1 for e in exports if e.type == kind)
        export = ExportSettings(f"{kind}-{same + 1}" if same else kind, kind, options)
        if kind in _REQUIRED:
            _REQUIRED[kind](document, where, options)
        exports.append(export)
    return exports


def _check_mqtt(document: Document, where: str, options: dict[str, Any]) -> None:
    if not options["host"]:
        raise document.error(f"{where}.host", "is required: address of the MQTT broker")
    if not is_host(options["host"]):
        raise document.error(
            f"{where}.host", f"{options['host']!r} is not a host name or address (no mqtt://)"
        )
    topic = options["topic"]
    if topic is not None and (not topic or any(c in topic for c in "#+\0") or topic.startswith("$")):
        raise document.error(f"{where}.topic", f"{topic!r} is not a topic to publish to (no #, +, leading $)")
    if options["homeassistant"] and not options["ha_sensors"]:
        raise document.error(
            f"{where}.ha_sensors", "is required when homeassistant is true: the sensors to announce"
        )
    for index, sensor in enumerate(options["ha_sensors"] or ()):
        for key in ("name", "sensor_type"):
            if not isinstance(sensor.get(key), str):
                raise document.error(f"{where}.ha_sensors[{index}]", f"needs {key}: (text)")


def _check_influxdb(document: Document, where: str, options: dict[str, Any]) -> None:
    if not re.match(r"https?://[^/\s]+", options["url"]):
        raise document.error(
            f"{where}.url", f"{options['url']!r} is not a URL that starts with http:// or https://"
        )
    try:
        address = urlsplit(options["url"])
        named = is_host(address.hostname or "") and address.port != 0
    except ValueError:
        named = False
    if not named:
        raise document.error(
            f"{where}.url", f"{options['url']!r} has no host name or no port from 1 to 65535"
        )
    if address.username:
        # credentials in the address would appear in messages: they belong in their own keys, which are masked
        options["username"] = options["username"] or unquote(address.username)
        options["password"] = options["password"] or unquote(address.password or "")
        options["url"] = urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2]))
    if not options["bucket"]:
        raise document.error(f"{where}.bucket", "is required: bucket (InfluxDB 2) or database (1 and 3)")
    if not options["measurements"]:
        raise document.error(f"{where}.measurements", "is required: a list of point: and register:")


def _check_pvoutput(document: Document, where: str, options: dict[str, Any]) -> None:
    for key in ("api", "sid"):
        if not options[key]:
            raise document.error(f"{where}.{key}", "is required: see Settings on pvoutput.org")
    names = [p["name"] for p in options["parameters"] or ()]
    if not set(names) & {"v1", "v2", "v3", "v4"}:
        raise document.error(f"{where}.parameters", "needs at least one of v1, v2, v3, v4")
    for index, name in enumerate(names):
        if not re.fullmatch(r"v([1-9]|1[0-2])|m1", name):
            raise document.error(f"{where}.parameters[{index}].name", f"{name!r} is not one of v1 to v12")


_REQUIRED = {"mqtt": _check_mqtt, "influxdb": _check_influxdb, "pvoutput": _check_pvoutput}


def listen_address(document: Document, text: str) -> tuple[str, int]:
    """("127.0.0.1", 8099) from "127.0.0.1:8099"."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise document.error("collector.listen", f"{text!r} is not address:port")
    return host.strip("[]"), int(port)


def _state_folder(inverter: InverterSettings) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = f"{inverter.host}-{inverter.port}-{inverter.slave}"
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if safe != name:
        safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:6]
    return Path(base).expanduser() / "sungather" / safe


def _masked(values: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    return {k: MASK if rules.get(k, {}).get("secret") and v else v for k, v in values.items()}
